"""The page that archives all mailboxes of a connection, by a job."""

from starlette.background import BackgroundTask
from starlette.responses import Response

from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.trails import connection_path, connection_trail
from superimap.api.dashboard.views.connections import get_connection
from superimap.db.accounts import archiving
from superimap.db.models import Partner
from superimap.db.monitoring.partner_lists import ConnectionSeen
from superimap.domain.jobs import MAX_COUNTED_ROWS
from superimap.domain.operators import OperatorRole

pages = Pages(ADMIN)

_PATH = "/partners/{partner_id:int}/connections/{connection_id:int}/archive"


@pages.get(_PATH, role=OperatorRole.OPERATOR)
async def ask_to_archive(page: Page, partner_id: int, connection_id: int) -> Response:
    """Say how many mailboxes would be archived."""
    return await _show(page, *await get_connection(page, partner_id, connection_id))


@pages.post(_PATH, fresh=True)
async def archive(page: Page, partner_id: int, connection_id: int) -> Response:
    """Start a job that archives the mailboxes of a connection whose code was typed."""
    partner, seen = await get_connection(page, partner_id, connection_id)
    if page.field("code") != seen.provider.code:
        return await _show(page, partner, seen, fault="This is not the code of the provider.")
    started = await archiving.start(page.db, await archiving.plan(page.db, partner_id, connection_id))
    answer = page.redirect(f"/jobs/{started.id}")
    answer.background = BackgroundTask(_wake, page)
    return answer


async def _wake(page: Page) -> None:
    page.resources.new_job.set()


async def _show(page: Page, partner: Partner, seen: ConnectionSeen, *, fault: str = "") -> Response:
    path = connection_path(partner.id, seen.connection.id)
    count = (await archiving.plan(page.db, partner.id, seen.connection.id)).count
    shown = f"{MAX_COUNTED_ROWS:,}+" if count > MAX_COUNTED_ROWS else f"{count:,}"
    return page.show(
        "delete.html",
        status=422 if fault else 200,
        section="/partners",
        trail=connection_trail(partner, seen.connection, seen.provider),
        heading=f"Archive the mailboxes of {seen.provider.code} of {partner.name}",
        what=f"Mailboxes to archive: {shown}. Nobody watches them afterwards; each can be restored.",
        path=f"{path}/archive",
        back=path,
        field="code",
        label="Code of the provider",
        expected=seen.provider.code,
        button="Archive them",
        fault=fault,
        users=0,
        most=0,
        command="",
    )
