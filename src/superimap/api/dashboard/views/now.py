"""The page Now: is any mailbox not watched, or any webhook late, and why."""

from starlette.responses import Response

from superimap.api.dashboard import activity_charts, words
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.db.monitoring import activity, messages, problems

pages = Pages(ADMIN)

NEWEST_MAILS = 10


@pages.get("")
async def now(page: Page) -> Response:
    """Show one sentence, and the causes behind it."""
    found = await problems.overview(page.db, expiry=page.resources.settings.heartbeat_expiry)
    within = await activity.window(
        page.db, hours=activity_charts.NOW_HOURS, step_seconds=activity_charts.NOW_STEP_SECONDS
    )
    happened = await activity.of_installation(page.db, within)
    return page.show(
        "now.html",
        headline=found.headline,
        tone="bad" if found.is_grave else "warn" if found.causes else "good",
        causes=found.causes,
        seen=found.cluster,
        newest=await messages.list_newest(page.db, limit=NEWEST_MAILS),
        words=words,
        charts=activity_charts.of_installation(happened, "the last six hours"),
        most=problems.MAX_COUNTED,
        live=True,
    )
