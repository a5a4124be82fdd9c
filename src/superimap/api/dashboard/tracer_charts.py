"""Charts of the page Tracers: days of the objective, arrivals, and the stages one after another. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time

from markupsafe import Markup

from superimap.api.dashboard.mail_path import exact_duration
from superimap.charts import bars, numbers
from superimap.charts.distribution import distribution
from superimap.charts.drawing import Chart, Series, Texture
from superimap.charts.timeline import timeline
from superimap.db.monitoring.tracers import SECONDS_PER_DAY, TracerDays
from superimap.domain.activity import BUCKETS, LATENCY_BOUNDS_SECONDS
from superimap.domain.tracers import OBJECTIVE_DAYS, TracerStage, TracerTimes

STAGES = {
    TracerStage.ACCEPTED: ("Accepted", "by the SMTP server, or by APPEND"),
    TracerStage.INTERNALDATE: ("Received", "INTERNALDATE, a whole second"),
    TracerStage.SEEN: ("Seen", "announced to the session, or found by it"),
    TracerStage.FETCHED: ("Fetched", "read from the mail server"),
    TracerStage.RECORDED: ("Recorded", "in PostgreSQL, with its webhook"),
    TracerStage.CLAIMED: ("Claimed", "by a dispatcher"),
    TracerStage.POSTED: ("Posted", "decrypted and signed"),
    TracerStage.ACKNOWLEDGED: ("Acknowledged", "by the internal receiver"),
}
TYPICAL_SHARE, SLOW_SHARE = 0.5, 0.95


@dataclass(frozen=True, slots=True)
class StageRow:
    """A stage: its end in words, what it took typically and at most, and a bar within the whole."""

    name: str
    detail: str
    count: int
    typical: str
    slow: str
    longest: str
    bar: Markup


def stage_rows(tracers: Sequence[TracerTimes]) -> list[StageRow]:
    """Return the stages in their order. The bars are the medians, one after another."""
    found: dict[TracerStage, list[float]] = defaultdict(list)
    for each in tracers:
        for stage, seconds in each.durations():
            found[stage].append(seconds)
    medians = {stage: quantile(found[stage], TYPICAL_SHARE) for stage in STAGES if found[stage]}
    whole, start, rows = sum(medians.values()), 0.0, []
    for stage, median in medians.items():
        name, detail = STAGES[stage]
        took = exact_duration(median)
        rows.append(
            StageRow(
                name,
                detail,
                len(found[stage]),
                took,
                exact_duration(quantile(found[stage], SLOW_SHARE)),
                exact_duration(max(found[stage])),
                bars.span(start, start + median, of=whole, label=f"{name}: {took}"),
            )
        )
        start += median
    return rows


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not exceed; there is one at least."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def arrivals_chart(tracers: Sequence[TracerTimes]) -> Chart:
    """Return the distribution of the times from INTERNALDATE to the record."""
    histogram = [0] * BUCKETS
    for each in tracers:
        if each.arrival_seconds is not None:
            histogram[bisect_right(LATENCY_BOUNDS_SECONDS, each.arrival_seconds)] += 1
    label = f"Time from INTERNALDATE to recorded, of the last {sum(histogram):,} tracers."
    return distribution(histogram, LATENCY_BOUNDS_SECONDS, key="arrivals", label=label, name="tracers")


def days_chart(days: TracerDays) -> Chart:
    """Return the verdicts of each day."""
    seen, total = days.days, days.total
    series = [
        Series("in time", [each.detected for each in seen], "good"),
        Series("late", [each.late for each in seen], "warn", Texture.DOTTED),
        Series("missing", [each.missing for each in seen], "bad", Texture.HATCHED),
        Series("not sent", [each.unsendable for each in seen], "soft", Texture.HOLLOW),
    ]
    label = (
        f"Tracers of the last {OBJECTIVE_DAYS} days: {total.detected:,} in time, {total.late:,} late, "
        f"{total.missing:,} missing, {total.unsendable:,} not sent."
    )
    start = datetime.combine(days.start, time(), UTC)
    return timeline(start, SECONDS_PER_DAY, series, key="days", label=label, show=numbers.short_count)
