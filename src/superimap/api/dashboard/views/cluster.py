"""The page Cluster: idlers, their shards, and users that nobody watches."""

from starlette.responses import Response

from superimap.api.dashboard import activity_charts
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.db.monitoring import activity, statuses
from superimap.domain.activity import ALL_IDLERS

pages = Pages(ADMIN)

TONES = {"ready": "good", "full": "warn", "stopping": "warn", "silent": "bad"}


@pages.get("/cluster")
async def cluster(page: Page) -> Response:
    """Show the idlers."""
    expiry = page.resources.settings.heartbeat_expiry
    seen = await statuses.read_cluster_status(page.db, expiry=expiry, count_watched=False)
    within, samples = await activity.of_idlers(
        page.db, [idler.id for idler in seen.idlers], hours=activity_charts.DAY_HOURS
    )
    return page.show(
        "cluster.html",
        seen=seen,
        tones=TONES,
        chart=activity_charts.sessions_chart(within, samples[ALL_IDLERS], "sessions", "the last day"),
        sparks={
            idler.id: activity_charts.sessions_spark(samples[idler.id], idler.name)
            for idler in seen.idlers
            if idler.id in samples
        },
        live=True,
    )
