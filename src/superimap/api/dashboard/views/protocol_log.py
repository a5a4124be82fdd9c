"""The protocol log of a mailbox: its conversation with the mail server, without secrets and mails."""

from starlette.responses import Response

from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.trails import mailbox_path, mailbox_trail
from superimap.api.dashboard.views.mailbox_forms import get_mailbox
from superimap.db.accounts import protocol_logs
from superimap.domain.protocol_logs import LOG_TIME, MAX_LINES

pages = Pages(ADMIN)

PAGE_LINES = 100
DIRECTIONS = {"sent": ("▸", "SuperIMAP"), "received": ("◂", "Server"), "note": ("·", "Connection")}
"""Sign and name of who has said a line."""


@pages.get("/mailboxes/{user_id:int}/protocol")
async def protocol_log(page: Page, user_id: int) -> Response:
    """Show the latest lines, or those before one of them."""
    seen = await get_mailbox(page, user_id)
    found = await protocol_logs.find(page.db, user_id)
    lines = await protocol_logs.list_lines(
        page.db, user_id, limit=PAGE_LINES + 1, before=page.number("before")
    )
    return page.show(
        "protocol_log.html",
        seen=seen,
        trail=mailbox_trail(seen, is_portal=False),
        log=found[0] if found else None,
        is_running=found is not None and found[1],
        is_full=found is not None and found[0].lines >= MAX_LINES,
        lines=lines[:PAGE_LINES],
        more=lines[PAGE_LINES - 1].id if len(lines) > PAGE_LINES else None,
        directions=DIRECTIONS,
        minutes=int(LOG_TIME.total_seconds() // 60),
        path=f"{mailbox_path(user_id)}/protocol",
        live=True,
    )


@pages.post("/mailboxes/{user_id:int}/protocol")
async def start_log(page: Page, user_id: int) -> Response:
    """Begin a log; a former one of the mailbox is deleted."""
    seen = await get_mailbox(page, user_id)
    await protocol_logs.start(page.db, seen.user)
    return page.redirect(f"{mailbox_path(user_id)}/protocol", done="logging")


@pages.post("/mailboxes/{user_id:int}/protocol/end")
async def end_log(page: Page, user_id: int) -> Response:
    """End a log before its time."""
    seen = await get_mailbox(page, user_id)
    await protocol_logs.end(page.db, seen.user)
    return page.redirect(f"{mailbox_path(user_id)}/protocol", done="saved")
