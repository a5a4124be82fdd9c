"""Distribution of durations: a histogram, and the share of what was as fast or faster."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from markupsafe import Markup

from superimap.charts import drawing, numbers
from superimap.charts.drawing import Box, Chart, Series

HEIGHT_UNITS = 210
LEFT_UNITS, RIGHT_UNITS = 46, 56
EMPTY_TEXT = "Nothing in this time"
LABELS_WANTED = 6
"""Labels below the bars, at most."""


def distribution(
    histogram: Sequence[float],
    bounds_seconds: Sequence[float],
    *,
    key: str,
    label: str,
    name: str,
    tone: str = "main",
) -> Chart:
    """Draw a histogram whose buckets end at these bounds; the last bucket has no end.

    `name` says what is counted. The line is the share of all that took no longer. Empty buckets at both ends are
    left out.
    """
    counts = numbers.cleaned(histogram[: len(bounds_seconds) + 1])
    counts += [0.0] * (len(bounds_seconds) + 1 - len(counts))
    total = sum(counts)
    shown = _shown(counts)
    bars = Series(name, [counts[place] for place in shown], tone)
    share = Series("share as fast or faster", (), "ink")
    named, legend_height = drawing.legend([(bars, False), (share, True)], key, y=2)
    box = Box(
        LEFT_UNITS, legend_height + 10, drawing.WIDTH_UNITS - RIGHT_UNITS, legend_height + HEIGHT_UNITS - 28
    )
    ticks = numbers.value_ticks(max(counts), is_whole=True)
    marks = [
        named,
        drawing.value_axis(box, ticks, [numbers.short_count(tick) for tick in ticks]),
        *_bars(box, bars, ticks[-1], key),
        drawing.base_line(box),
        *_bounds(box, shown, bounds_seconds),
    ]
    if total > 0:
        marks += _shares(box, counts, shown, total)
        marks += _slots(box, counts, shown, bounds_seconds, total)
    else:
        marks.append(
            drawing.text((box.left + box.right) / 2, (box.top + box.bottom) / 2, EMPTY_TEXT, "middle")
        )
    height = legend_height + HEIGHT_UNITS
    drawn = drawing.svg(marks, width=drawing.WIDTH_UNITS, height=height, label=label, kind="distribution")
    rows = tuple(_rows(counts, shown, bounds_seconds, total)) if total > 0 else ()
    return Chart(drawn, ("Time", name, "As fast or faster"), rows, is_empty=total <= 0)


def _shown(counts: list[float]) -> range:
    """The buckets from the first to the last that has something, with one neighbour at each end."""
    filled = [place for place, count in enumerate(counts) if count > 0]
    if not filled:
        return range(len(counts))
    return range(max(filled[0] - 1, 0), min(filled[-1] + 2, len(counts)))


def bucket_text(place: int, bounds: Sequence[float]) -> str:
    """Return the durations of a bucket in words."""
    if place == 0:
        return f"below {numbers.duration_text(bounds[0])}" if bounds else "any"
    if place >= len(bounds):
        return f"{numbers.duration_text(bounds[-1])} and more"
    return f"{numbers.duration_text(bounds[place - 1])} to {numbers.duration_text(bounds[place])}"


def _bars(box: Box, bars: Series, top: float, key: str) -> list[Markup]:
    width = box.width / max(len(bars.values), 1)
    path = "".join(
        drawing.rectangle(
            box.left + place * width + 1, box.y(value, top), width - 2, box.bottom - box.y(value, top)
        )
        for place, value in enumerate(bars.values)
    )
    return [drawing.area(path, bars, key)]


def _bounds(box: Box, shown: range, bounds: Sequence[float]) -> list[Markup]:
    """The bounds between the bars; as many are named as there is room for."""
    width = box.width / len(shown)
    inner = [place for place in shown if place + 1 in shown and place < len(bounds)]
    every = max(-(-len(inner) // LABELS_WANTED), 1)
    drawn = []
    for place in inner:
        x = box.left + (place + 1 - shown.start) * width
        drawn.append(
            Markup('<path class="base" d="M{} {}v5"/>').format(drawing.number(x), drawing.number(box.bottom))
        )
        if (place - inner[0]) % every == 0:
            drawn.append(drawing.text(x, box.bottom + 19, numbers.duration_text(bounds[place]), "middle"))
    return drawn


def _shares(box: Box, counts: list[float], shown: range, total: float) -> list[Markup]:
    """The line, which reaches a share at the end of a bucket, and its scale at the right."""
    width = box.width / len(shown)
    reached = [*itertools.accumulate(counts)]
    before = reached[shown.start - 1] if shown.start else 0.0
    points = [(box.left, before / total)] + [
        (box.left + (place + 1 - shown.start) * width, reached[place] / total) for place in shown
    ]
    path = "L".join(f"{drawing.number(x)} {drawing.number(box.y(share, 1.0))}" for x, share in points)
    scale = [
        drawing.text(box.right + 6, box.y(share, 1.0) + 4.5, f"{share:.0%}".replace("%", " %"))
        for share in (0.0, 0.5, 1.0)
    ]
    return [Markup('<path class="line ink" d="M{}"/>').format(path), *scale]


def _slots(
    box: Box, counts: list[float], shown: range, bounds: Sequence[float], total: float
) -> list[Markup]:
    width = box.width / len(shown)
    drawn = [
        Markup('<path d="{}"><title>{}: {} ({})</title></path>').format(
            drawing.rectangle(box.left + (place - shown.start) * width, box.top, width, box.height),
            bucket_text(place, bounds),
            numbers.count_text(counts[place]),
            numbers.share_text(counts[place], total),
        )
        for place in shown
        if counts[place]
    ]
    return [Markup('<g class="slots">{}</g>').format(Markup("").join(drawn))]


def _rows(
    counts: list[float], shown: range, bounds: Sequence[float], total: float
) -> list[tuple[str, str, str]]:
    reached = [*itertools.accumulate(counts)]
    return [
        (
            bucket_text(place, bounds),
            numbers.count_text(counts[place]),
            numbers.share_text(reached[place], total),
        )
        for place in shown
        if counts[place]
    ]
