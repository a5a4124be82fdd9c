"""Actions on a mailbox: archive, restore, and links with which a person connects or disconnects it."""

import time

from starlette.responses import Response

from superimap.api.dashboard.menus import ADMIN, PORTAL
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.public_address import public_base
from superimap.api.dashboard.trails import mailbox_path, mailbox_trail
from superimap.api.dashboard.views.mailbox_forms import get_mailbox
from superimap.db.accounts import connecting, users
from superimap.domain.operators import OperatorRole
from superimap.oauth import links
from superimap.oauth.links import Purpose

pages = Pages(ADMIN, PORTAL)

LIFETIME_MINUTES = links.LIFETIME_SECONDS // 60


@pages.post("/mailboxes/{user_id:int}/archive")
async def archive_mailbox(page: Page, user_id: int) -> Response:
    """Stop watching a mailbox; its data is kept."""
    await _set_archived(page, user_id, archived=True)
    return page.redirect(mailbox_path(user_id), done="archived")


@pages.post("/mailboxes/{user_id:int}/restore")
async def restore_mailbox(page: Page, user_id: int) -> Response:
    """Watch an archived mailbox again."""
    await _set_archived(page, user_id, archived=False)
    return page.redirect(mailbox_path(user_id), done="restored")


@pages.get("/mailboxes/{user_id:int}/connect-link", role=OperatorRole.OPERATOR)
async def show_links(page: Page, user_id: int) -> Response:
    """Show newly signed links. Who has one can connect or disconnect the mailbox, so viewers get none."""
    seen = await get_mailbox(page, user_id)
    base = public_base(page)
    now = time.time()
    purposes = [] if seen.provider.is_app_only else list(Purpose)
    return page.show(
        "connect_link.html",
        seen=seen,
        trail=mailbox_trail(seen, is_portal=page.scope is not None),
        links={each.value: links.url(base, each, user_id, page.key, now=now) for each in purposes},
        minutes=LIFETIME_MINUTES,
        path=mailbox_path(user_id),
    )


async def _set_archived(page: Page, user_id: int, *, archived: bool) -> None:
    await get_mailbox(page, user_id)
    linked = await connecting.lock_user(page.db, user_id)
    await users.update(
        page.db, page.resources.vault, linked.provider_connection, linked.user, {"archived": archived}
    )
