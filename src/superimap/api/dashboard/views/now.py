"""The page Now: is any mailbox not watched, or any webhook late, and why."""

from starlette.responses import Response

from superimap.api.dashboard import words
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.db.monitoring import messages, problems, statuses
from superimap.domain import causes

pages = Pages(ADMIN)

NEWEST_MAILS = 10


@pages.get("")
async def now(page: Page) -> Response:
    """Show one sentence, and the causes behind it."""
    settings = page.resources.settings
    seen = await statuses.read_cluster_status(page.db, expiry=settings.heartbeat_expiry, count_watched=False)
    users = causes.group_users(await problems.user_troubles(page.db))
    endpoints = await problems.endpoint_troubles(page.db)
    shown = users + causes.endpoint_causes(endpoints)
    unserved = seen.users.unserved
    is_bad = bool(unserved or users or any(each.is_late for each in endpoints))
    return page.show(
        "now.html",
        headline=causes.headline(
            wanted=seen.users.wanted, unserved=unserved, users=users, endpoints=endpoints
        ),
        tone="bad" if is_bad else "warn" if shown else "good",
        causes=shown,
        seen=seen,
        newest=await messages.list_newest(page.db, limit=NEWEST_MAILS),
        words=words,
        most=problems.MAX_COUNTED,
        live=True,
    )
