"""The page Cluster: idlers, their shards, and users that nobody watches."""

from starlette.responses import Response

from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.db.monitoring import statuses

pages = Pages(ADMIN)

TONES = {"ready": "good", "full": "warn", "stopping": "warn", "silent": "bad"}


@pages.get("/cluster")
async def cluster(page: Page) -> Response:
    """Show the idlers."""
    expiry = page.resources.settings.heartbeat_expiry
    seen = await statuses.read_cluster_status(page.db, expiry=expiry, count_watched=False)
    return page.show("cluster.html", seen=seen, tones=TONES, live=True)
