"""Numbers of charts: what can be drawn, ticks that people would choose, and short texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

LARGEST_VALUE = 1e15
"""Larger values are drawn as this one, so that a sum stays finite."""

SMALLEST_VALUE = 1e-9
"""Smaller values are drawn as 0."""

TICKS_WANTED = 4
"""Steps of an axis of values, at most one more."""

TIME_STEPS_SECONDS = (
    60, 300, 600, 900, 1800, 3600, 2 * 3600, 3 * 3600, 6 * 3600, 12 * 3600,
    86400, 2 * 86400, 7 * 86400, 14 * 86400, 28 * 86400,
)  # fmt: skip
DAY_SECONDS = 86400
TIME_LABELS_WANTED = 6
"""Labels of an axis of time, at most."""


def drawable(value: float) -> float:
    """Return what is drawn for a value: not negative, and finite; 0 for what is no number."""
    return min(float(value), LARGEST_VALUE) if value >= SMALLEST_VALUE else 0.0


def cleaned(values: Iterable[float]) -> list[float]:
    """Return `drawable` of each value."""
    return [drawable(each) for each in values]


def value_ticks(largest: float, *, is_whole: bool = False) -> list[float]:
    """Return round values from 0 to at least `largest`: 1, 2 or 5 times a power of ten apart."""
    top = drawable(largest)
    if top <= 0:
        return [0.0, 1.0]
    rough = top / TICKS_WANTED
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)
    if is_whole:
        step = max(step, 1.0)
    count = max(math.ceil(top / step - 1e-9), 1)
    return [step * number for number in range(count + 1)]


def time_ticks(start: datetime, end: datetime) -> list[datetime]:
    """Return round times of UTC from `start` to before `end`, TIME_LABELS_WANTED at most."""
    seconds = (end - start).total_seconds()
    longest = TIME_STEPS_SECONDS[-1]
    step = next(
        (each for each in TIME_STEPS_SECONDS if seconds / each <= TIME_LABELS_WANTED),
        longest * math.ceil(seconds / longest / TIME_LABELS_WANTED),
    )
    first = math.ceil(start.timestamp() / step) * step
    return [
        datetime.fromtimestamp(first, UTC) + timedelta(seconds=step * number)
        for number in range(TIME_LABELS_WANTED + 1)
        if first + step * number < end.timestamp()
    ]


def time_text(moment: datetime) -> str:
    """Return the time of day in UTC; at midnight, the day."""
    utc = moment.astimezone(UTC)
    return f"{utc.day} {utc:%b}" if (utc.hour, utc.minute) == (0, 0) else f"{utc:%H:%M}"


def interval_text(start: datetime, seconds: float) -> str:
    """Return an interval for a table, with its day."""
    begin = start.astimezone(UTC)
    if seconds >= DAY_SECONDS:
        return f"{begin.day} {begin:%b}"
    return f"{begin.day} {begin:%b %H:%M}–{begin + timedelta(seconds=seconds):%H:%M}"


def short_count(value: float) -> str:
    """Return a count for an axis: 950, 1.2k, 3M."""
    number = drawable(value)
    for size, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{suffix}"
    return f"{number:.3g}"


def count_text(value: float) -> str:
    """Return a count in full: 12,345."""
    return f"{drawable(value):,.0f}"


def duration_text(seconds: float) -> str:
    """Return a duration for an axis: 5 ms, 2 s, 5 min, 3 h, 2 d."""
    number = drawable(seconds)
    if number < 1:
        return f"{number * 1000:.3g} ms"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g} s"


def share_text(part: float, whole: float) -> str:
    """Return a share in percent; never 100 % if a part is missing, nor 0 % if there is one."""
    given, total = drawable(part), drawable(whole)
    if total <= 0 or given <= 0:
        return "0 %"
    percent = 100 * min(given / total, 1.0)
    if given < total:
        percent = min(percent, 99.9)
    return f"{max(percent, 0.1):.3g} %"


def quantile_bound(histogram: Sequence[float], bounds: Sequence[float], share: float) -> float | None:
    """Return the bound below which at least this share of a histogram is; infinity for its last bucket.

    None if the histogram is empty.
    """
    counts = cleaned(histogram)
    total = sum(counts)
    if total <= 0:
        return None
    reached = 0.0
    for place, count in enumerate(counts):
        reached += count
        if reached >= share * total and count:
            return bounds[place] if place < len(bounds) else math.inf
    return math.inf
