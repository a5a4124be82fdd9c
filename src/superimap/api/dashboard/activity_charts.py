"""Charts of pages: activity of the installation, a partner, an endpoint, a provider, and sessions of idlers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from markupsafe import Markup
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.charts import numbers, small
from superimap.charts.distribution import distribution
from superimap.charts.drawing import Chart, Series, Texture
from superimap.charts.timeline import timeline
from superimap.db.models import Endpoint
from superimap.db.monitoring import activity, problems
from superimap.db.monitoring.activity import ActivitySeen, IdlerSamples, Window
from superimap.domain.activity import LATENCY_BOUNDS_SECONDS, ActivityCounts
from superimap.domain.provider_health import ProviderHealth, judge_provider

DAY_HOURS = 24
DAY_STEP_SECONDS = 1800.0
"""Intervals of a chart of a day."""
NOW_HOURS, NOW_STEP_SECONDS = 6, 600.0
WEEK_HOURS, WEEK_STEP_SECONDS = 168, 6 * 3600.0
SPARK_POINTS = 48
"""Points of a sparkline, at most."""


def webhooks_chart(seen: ActivitySeen, key: str, when: str) -> Chart:
    """Mails that were recorded, and webhooks by how they ended."""
    total = seen.total
    bars = [
        Series("delivered", [each.delivered for each in seen.slots], "good"),
        Series("failed", [each.failed for each in seen.slots], "bad", Texture.HATCHED),
    ]
    said = [f"{total.delivered:,} delivered", f"{total.failed:,} failed"]
    if total.cancelled:
        bars.append(Series("cancelled", [each.cancelled for each in seen.slots], "soft", Texture.HOLLOW))
        said.append(f"{total.cancelled:,} cancelled")
    mails = Series("mails", [each.mails for each in seen.slots], "ink")
    label = f"Mails and webhooks of {when}: {total.mails:,} mails; webhooks: {', '.join(said)}."
    return _over_time(seen.window, bars, key, label, lines=[mails], has_open_end=True)


def answers_chart(seen: ActivitySeen, key: str, when: str) -> Chart:
    """Attempts by their answer."""
    total = seen.total
    bars = [
        Series("accepted", [each.accepted for each in seen.slots], "good"),
        Series("refused", [each.refused for each in seen.slots], "bad", Texture.HATCHED),
        Series("no answer", [each.unanswered for each in seen.slots], "warn", Texture.DOTTED),
    ]
    if total.unsent:
        bars.append(Series("not sent", [each.unsent for each in seen.slots], "soft", Texture.HOLLOW))
    label = (
        f"Attempts of {when}: {total.accepted:,} accepted, {total.refused:,} refused, "
        f"{total.unanswered:,} without an answer."
    )
    return _over_time(seen.window, bars, key, label)


def trouble_chart(seen: ActivitySeen, key: str, when: str) -> Chart:
    """Mailboxes that have to sign in again, and those whose server fell silent."""
    total = seen.total
    bars = [
        Series("must sign in again", [each.refusals for each in seen.slots], "bad", Texture.HATCHED),
        Series("server fell silent", [each.silences for each in seen.slots], "warn", Texture.DOTTED),
    ]
    label = (
        f"Mailboxes with trouble, {when}: {total.refusals:,} must sign in again, {total.silences:,} silent."
    )
    return _over_time(seen.window, bars, key, label)


def mails_chart(seen: ActivitySeen, key: str, when: str) -> Chart:
    """Mails that were recorded."""
    bars = [Series("mails", [each.mails for each in seen.slots], "main")]
    return _over_time(seen.window, bars, key, f"Mails of {when}: {seen.total.mails:,}.")


def latency_chart(seen: ActivitySeen, key: str, when: str) -> Chart:
    """Time from the recording of a mail to the 2xx for its webhook."""
    said = within_words(seen.latencies) or "none"
    label = f"Time from recorded to acknowledged, {when}: {said}."
    return distribution(seen.latencies, LATENCY_BOUNDS_SECONDS, key=key, label=label, name="webhooks")


def delay_chart(seen: ActivitySeen, key: str, when: str) -> Chart:
    """Time from INTERNALDATE, which is a whole second, until mails of watched mailboxes were found."""
    said = within_words(seen.delays) or "none"
    label = f"Time from received by the mail server to found, {when}: {said}."
    return distribution(seen.delays, LATENCY_BOUNDS_SECONDS, key=key, label=label, name="mails")


def recording_chart(seen: ActivitySeen, key: str, when: str) -> Chart:
    """Time from the sighting of mails of watched mailboxes until they were recorded."""
    said = within_words(seen.recordings) or "none"
    label = f"Time from found to recorded, {when}: {said}."
    return distribution(seen.recordings, LATENCY_BOUNDS_SECONDS, key=key, label=label, name="mails")


def answer_time_chart(seen: ActivitySeen, key: str, when: str) -> Chart:
    """Time that the server took to answer."""
    said = within_words(seen.answer_times) or "none"
    label = f"Time to answer, {when}: {said}."
    return distribution(seen.answer_times, LATENCY_BOUNDS_SECONDS, key=key, label=label, name="answers")


def sessions_chart(within: Window, samples: IdlerSamples, key: str, when: str) -> Chart:
    """Sessions of all idlers, and the mailboxes that should be watched."""
    every = max(within.count // SPARK_POINTS, 1)
    bars = [Series("sessions", _thinned(samples.sessions, every), "main")]
    lines = [Series("mailboxes to watch", _thinned(samples.users, every), "ink")]
    thinned = Window(within.start, within.step_seconds * every, SPARK_POINTS, within.counted_to)
    return _over_time(thinned, bars, key, f"Sessions of all idlers, {when}.", lines=lines)


def sessions_spark(samples: IdlerSamples, name: str) -> Markup:
    """Sessions of one idler over a day, on the scale of its capacity or less."""
    every = max(len(samples.sessions) // SPARK_POINTS, 1)
    values = _thinned(samples.sessions, every)
    label = f"Sessions of {name} in the last day: {min(values):,} to {max(values):,}."
    return small.sparkline(values, label=label)


def refusals_strip(seen: ActivitySeen) -> Markup:
    """Refused sign-ins of a provider over the last days."""
    values = [each.refusals + each.silences for each in seen.slots]
    start, step = seen.window.start, seen.window.step_seconds
    names = [
        f"{numbers.interval_text(start + timedelta(seconds=place * step), step)}: {value:,}"
        for place, value in enumerate(values)
    ]
    return small.strip(
        values, names, label=f"Mailboxes with trouble in the last seven days: {sum(values):,}."
    )


def within_words(histogram: Sequence[float]) -> str:
    """Return a histogram of durations in words: half within 20 ms, 95 % within 1 s; empty without any."""
    half = numbers.quantile_bound(histogram, LATENCY_BOUNDS_SECONDS, 0.5)
    most = numbers.quantile_bound(histogram, LATENCY_BOUNDS_SECONDS, 0.95)
    if half is None or most is None:
        return ""
    return f"half {_within(half)}, 95 % {_within(most)}"


def _within(bound: float) -> str:
    if math.isinf(bound):
        return f"in more than {numbers.duration_text(LATENCY_BOUNDS_SECONDS[-1])}"
    return f"within {numbers.duration_text(bound)}"


def _thinned(values: Sequence[int], every: int) -> list[int]:
    """The largest of each `every` values, so that a peak is kept."""
    return [max(values[place : place + every]) for place in range(0, len(values), every)]


def _over_time(
    within: Window,
    bars: Sequence[Series],
    key: str,
    label: str,
    *,
    lines: Sequence[Series] = (),
    has_open_end: bool = False,
) -> Chart:
    return timeline(
        within.start, within.step_seconds, bars, key=key, label=label, lines=lines, has_open_end=has_open_end
    )


@dataclass(frozen=True, slots=True)
class ChartPair:
    """What happened over time, how long it took, and that in words."""

    window: Window
    over_time: Chart
    times: Chart
    words: str
    delays: Chart | None = None
    delay_words: str = ""


@dataclass(frozen=True, slots=True)
class ProviderCharts:
    """A provider over seven days."""

    window: Window
    trouble: Chart
    mails: Chart
    delays: Chart
    recordings: Chart
    delay_words: str
    recording_words: str


@dataclass(frozen=True, slots=True)
class ProviderSeen:
    """A provider in the last hour, judged by the last seven days, which the strip shows."""

    hour: ActivityCounts
    week: ActivitySeen
    judged: ProviderHealth
    strip: Markup


def overview(seen: ActivitySeen, when: str) -> ChartPair:
    """Mails and webhooks, and how long these took."""
    return ChartPair(
        seen.window,
        webhooks_chart(seen, "webhooks", when),
        latency_chart(seen, "latency", when),
        _sentence("Webhooks", within_words(seen.latencies)),
    )


def of_installation(seen: ActivitySeen, when: str) -> ChartPair:
    """Mails and webhooks, how long these took, and the delay of all providers."""
    return replace(
        overview(seen, when),
        delays=delay_chart(seen, "delays", when),
        delay_words=_sentence("Mails", within_words(seen.delays)),
    )


async def of_partner(db: AsyncSession, partner_id: int) -> ChartPair:
    """The last day of a partner."""
    within = await activity.window(db, hours=DAY_HOURS, step_seconds=DAY_STEP_SECONDS)
    return overview(await activity.of_partner(db, partner_id, within), "the last day")


async def of_endpoint(db: AsyncSession, endpoint: Endpoint) -> ChartPair:
    """The last day of an endpoint."""
    within = await activity.window(db, hours=DAY_HOURS, step_seconds=DAY_STEP_SECONDS)
    seen = await activity.of_partner(db, endpoint.partner_id, within, endpoint_id=endpoint.id)
    return ChartPair(
        within,
        answers_chart(seen, "answers", "the last day"),
        answer_time_chart(seen, "answer-times", "the last day"),
        _sentence("Answers", within_words(seen.answer_times)),
    )


async def of_providers(db: AsyncSession, *, with_histograms: bool = False) -> dict[int, ProviderSeen]:
    """The providers that had something to do in the last seven days, or cannot be reached now, by id."""
    within = await _week(db)
    week = await activity.of_providers(db, within, with_histograms=with_histograms)
    unreachable = await problems.count_unreachable(db)
    week = {provider_id: _nothing(within) for provider_id in unreachable} | week
    hour = await activity.of_providers(db, await activity.window(db, hours=1, step_seconds=300.0))
    found = {}
    for provider_id, seen in week.items():
        last = hour[provider_id].total if provider_id in hour else ActivityCounts()
        judged = judge_provider(last, seen.total, unreachable=unreachable.get(provider_id, 0))
        found[provider_id] = ProviderSeen(last, seen, judged, refusals_strip(seen))
    return found


async def of_provider(db: AsyncSession, provider_id: int) -> tuple[ProviderSeen | None, ProviderCharts]:
    """The last hour of a provider, None without anything in seven days, and charts of these."""
    seen = (await of_providers(db, with_histograms=True)).get(provider_id)
    within = seen.week.window if seen is not None else await _week(db)
    week, when = seen.week if seen is not None else _nothing(within), "the last seven days"
    return seen, ProviderCharts(
        within,
        trouble_chart(week, "trouble", when),
        mails_chart(week, "mails", when),
        delay_chart(week, "delays", when),
        recording_chart(week, "recordings", when),
        _sentence("Mails", within_words(week.delays)),
        _sentence("Mails", within_words(week.recordings)),
    )


def _nothing(within: Window) -> ActivitySeen:
    return ActivitySeen(within, [ActivityCounts() for _ in range(within.count)])


async def _week(db: AsyncSession) -> Window:
    return await activity.window(db, hours=WEEK_HOURS, step_seconds=WEEK_STEP_SECONDS)


def _sentence(what: str, words: str) -> str:
    return f"{what}: {words}." if words else ""
