"""The page on which an owner says why a mail is downloaded, and the download."""

from starlette.responses import Response

from superimap.api.dashboard.mail_download import MailDownload
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.views.mailbox import read_mail, row_number
from superimap.api.errors import Problem
from superimap.db.accounts import mail_contents
from superimap.domain.operators import OperatorRole

pages = Pages(ADMIN)

MIN_REASON_CHARACTERS = 5
MAX_REASON_CHARACTERS = 500
"""As many as the audit log keeps of a value."""


@pages.get("/mails/{message_id}/download", role=OperatorRole.OWNER)
async def ask(page: Page, message_id: str) -> Response:
    """Ask for the reason, once the identity is confirmed; or say that the content is erased."""
    _require_allowed(page)
    if not page.is_fresh:
        return page.redirect("/confirm", next=f"/mails/{row_number(message_id)}/download")
    return await _show(page, message_id)


@pages.post("/mails/{message_id}/download", role=OperatorRole.OWNER, fresh=True)
async def download(page: Page, message_id: str) -> Response:
    """Record the reason, and send the mail as a file."""
    _require_allowed(page)
    reason = page.field("reason")
    if not MIN_REASON_CHARACTERS <= len(reason) <= MAX_REASON_CHARACTERS or not reason.isprintable():
        fault = (
            f"The reason must have {MIN_REASON_CHARACTERS} to {MAX_REASON_CHARACTERS} characters in one line."
        )
        return await _show(page, message_id, fault=fault)
    seen, mail = await read_mail(page, message_id)
    stored = await mail_contents.take_out(
        page.db,
        seen.user.partner_id,
        mail.delivery.webhook_id if mail.delivery else None,
        message_id=mail.id,
        reason=reason,
    )
    return MailDownload(page.resources.vault, page.resources.contents, stored, mail.id)


async def _show(page: Page, message_id: str, *, fault: str = "") -> Response:
    seen, mail = await read_mail(page, message_id)
    webhook_id = mail.delivery.webhook_id if mail.delivery else None
    return page.show(
        "mail_download.html",
        status=422 if fault else 200,
        fault=fault,
        mail=mail,
        reason=page.field("reason"),
        is_kept=await mail_contents.is_kept(page.db, seen.user.partner_id, webhook_id),
        erased=mail_contents.ERASED,
        trail=[(f"Mail {mail.id}", f"/mails/{mail.id}")],
    )


def _require_allowed(page: Page) -> None:
    if not page.resources.settings.content_download:
        raise Problem(404, "This installation does not allow downloads of mails (CONTENT_DOWNLOAD).")
