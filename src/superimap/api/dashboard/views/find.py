"""The page Find: whatever a person has at hand leads to its page."""

from starlette.responses import Response

from superimap.api.dashboard import words
from superimap.api.dashboard.menus import ADMIN, PORTAL
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.db.monitoring import finding
from superimap.domain.message_ids import is_message_id
from superimap.webhooks.signing import delivery_of, webhook_id

pages = Pages(ADMIN, PORTAL)


@pages.get("/find")
async def find(page: Page) -> Response:
    """Show what the text names, or go to its page if it names one thing."""
    text = page.query("q").removeprefix("Mail ")
    header = text if is_message_id(text) else page.query("message_id")
    found = await finding.find(page.db, text, delivery_id=delivery_of(text), partner_id=page.scope)
    paths = [f"/mailboxes/{user.id}" for user in found.users]
    paths += [f"/partners/{partner.id}" for partner in found.partners]
    paths += [f"/providers/{code}" for code in found.providers]
    if found.message_id is not None:
        paths.append(f"/mails/{found.message_id}")
    if found.delivery is not None:
        partner_id, delivery = found.delivery
        of_partner = f"/{partner_id}" if page.scope is None else ""
        paths.append(f"/deliveries{of_partner}/{webhook_id(delivery)}")
    if len(paths) == 1:
        is_mailbox = bool(found.users and header)
        return page.redirect(paths[0], **({"message_id": header} if is_mailbox else {}))
    is_nothing = not paths and "@" in text and not header
    return page.show(
        "find.html",
        text=text,
        found=found,
        words=words,
        header=header,
        maybe_header=text if is_nothing else "",
    )
