"""The page Tracers: whether mail arrives at each provider, and how fast."""

from starlette.responses import Response

from superimap.api.dashboard import tracer_charts, words
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.db.monitoring import tracers
from superimap.domain.tracers import (
    CHECKED_SECONDS,
    LATE_SECONDS,
    OBJECTIVE_DAYS,
    OBJECTIVE_SHARE,
    TracerHealth,
)

pages = Pages(ADMIN)


@pages.get("/tracers")
async def show_tracers(page: Page) -> Response:
    """Show the objective, the stages, the providers, and the last tracers that did not arrive in time."""
    rows = await tracers.list_providers(page.db)
    days = await tracers.read_days(page.db)
    times = await tracers.last_times(page.db)
    settings = page.resources.settings
    return page.show(
        "tracers.html",
        rows=rows,
        failing=[row.code for row in rows if row.health is TracerHealth.FAILING],
        late=[row.code for row in rows if row.health is TracerHealth.LATE],
        unchecked=[row.code for row in rows if row.health is TracerHealth.UNCHECKED],
        checked_seconds=CHECKED_SECONDS,
        is_on=settings.tracer_interval > 0 and settings.num_tracers > 0,
        total=days.total,
        days=OBJECTIVE_DAYS,
        objective=OBJECTIVE_SHARE,
        late_seconds=LATE_SECONDS,
        chart=tracer_charts.days_chart(days),
        arrivals=tracer_charts.arrivals_chart(times),
        stages=tracer_charts.stage_rows(times),
        misses=await tracers.list_misses(page.db),
        kept=await tracers.list_kept(page.db),
        words=words,
        live=True,
    )
