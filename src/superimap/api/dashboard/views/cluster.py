"""The page Cluster: idlers, their shards, users that nobody watches, and dispatchers."""

from starlette.responses import Response

from superimap.api.dashboard import activity_charts
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.db.monitoring import activity, dispatchers, problems, statuses
from superimap.domain.activity import ALL_IDLERS

pages = Pages(ADMIN)

TONES = {"ready": "good", "full": "warn", "stopping": "warn", "silent": "bad"}


@pages.get("/cluster")
async def cluster(page: Page) -> Response:
    """Show the idlers and the dispatchers."""
    expiry = page.resources.settings.heartbeat_expiry
    seen = await statuses.read_cluster_status(page.db, expiry=expiry, count_watched=False)
    within, samples = await activity.of_idlers(
        page.db, [idler.id for idler in seen.idlers], hours=activity_charts.DAY_HOURS
    )
    late = [each.due_at for each in await problems.endpoint_troubles(page.db) if each.is_late and each.due_at]
    return page.show(
        "cluster.html",
        seen=seen,
        dispatchers=await dispatchers.list_dispatchers(page.db),
        late_since=min(late, default=None),
        tones=TONES,
        chart=activity_charts.sessions_chart(within, samples[ALL_IDLERS], "sessions", "the last day"),
        sparks={
            idler.id: activity_charts.sessions_spark(samples[idler.id], idler.name)
            for idler in seen.idlers
            if idler.id in samples
        },
        live=True,
    )
