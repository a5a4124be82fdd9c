"""Charts over time: stacked bars, and a line above them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from markupsafe import Markup

from superimap.charts import drawing, numbers
from superimap.charts.drawing import Box, Chart, Series

HEIGHT_UNITS = 210
"""Without the legend."""
LEFT_UNITS = 46
MAX_GAP_UNITS = 2.5
EMPTY_TEXT = "Nothing in this time"


def timeline(
    start: datetime,
    step_seconds: float,
    bars: Sequence[Series],
    *,
    key: str,
    label: str,
    lines: Sequence[Series] = (),
    show: Callable[[float], str] = numbers.short_count,
    is_whole: bool = True,
    has_open_end: bool = False,
) -> Chart:
    """Draw series over intervals of `step_seconds` from `start`: bars upon one another, lines on the same scale.

    `key` is unique on the page. `show` writes the values of the axis. Shorter series are filled up with zeros. The
    table leaves out intervals in which everything is 0. `has_open_end`: the last interval is not over; lines end
    before it, because they would fall.
    """
    series = [*bars, *lines]
    count = max((len(each.values) for each in series), default=0)
    grid = [each.numbers + [0.0] * (count - len(each.values)) for each in series]
    stacks = [sum(column[: len(bars)]) for column in zip(*grid, strict=True)] if series else []
    largest = max([*stacks, *(value for row in grid[len(bars) :] for value in row)], default=0.0)
    end = start + timedelta(seconds=step_seconds * max(count, 1))
    ticks = numbers.value_ticks(largest, is_whole=is_whole)
    named, legend_height = drawing.legend([(each, each in lines) for each in series], key, y=2)
    box = Box(LEFT_UNITS, legend_height + 10, drawing.WIDTH_UNITS - 4, legend_height + HEIGHT_UNITS - 28)
    marks = [
        drawing.textures(key, series),
        named,
        drawing.value_axis(box, ticks, [show(tick) for tick in ticks]),
        *_bars(box, bars, grid, ticks[-1], key),
        *_lines(box, lines, grid[len(bars) :], ticks[-1], left_out=int(has_open_end)),
        drawing.base_line(box),
        drawing.time_axis(
            box, start, end, [(at, numbers.time_text(at)) for at in numbers.time_ticks(start, end)]
        ),
        *_slots(box, start, step_seconds, series, grid),
    ]
    if largest <= 0:
        marks.append(
            drawing.text((box.left + box.right) / 2, (box.top + box.bottom) / 2, EMPTY_TEXT, "middle")
        )
    return Chart(
        drawing.svg(
            marks,
            width=drawing.WIDTH_UNITS,
            height=legend_height + HEIGHT_UNITS,
            label=label,
            kind="timeline",
        ),
        ("Time (UTC)", *(each.name for each in series)),
        tuple(_rows(start, step_seconds, grid)),
        is_empty=largest <= 0,
    )


def _bars(box: Box, bars: Sequence[Series], grid: list[list[float]], top: float, key: str) -> list[Markup]:
    """One path for each series: the bars of a chart are many."""
    count = len(grid[0]) if grid else 0
    width = box.width / max(count, 1)
    gap = min(MAX_GAP_UNITS, width * 0.2)
    below = [0.0] * count
    drawn = []
    for each, values in zip(bars, grid, strict=False):
        path = ""
        for place, value in enumerate(values):
            low, below[place] = box.y(below[place], top), below[place] + value
            high = box.y(below[place], top)
            if value > 0:  # at least a hair, so that one failure among thousands is seen
                high = min(high, low - 1.2)
            path += drawing.rectangle(box.left + place * width + gap / 2, high, width - gap, low - high)
        drawn.append(drawing.area(path, each, key))
    return drawn


def _lines(
    box: Box, lines: Sequence[Series], grid: list[list[float]], top: float, *, left_out: int
) -> list[Markup]:
    drawn = []
    for each, values in zip(lines, grid, strict=True):
        width = box.width / max(len(values), 1)
        points = [
            f"{drawing.number(box.left + (place + 0.5) * width)} {drawing.number(box.y(value, top))}"
            for place, value in enumerate(values[: max(1, len(values) - left_out)])
        ]
        if len(points) == 1:  # a line of one point would not be seen
            points.append(f"{drawing.number(box.right)} {points[0].split(' ')[1]}")
        if points:
            drawn.append(Markup('<path class="line {}" d="M{}"/>').format(each.tone, "L".join(points)))
    return drawn


def _slots(
    box: Box, start: datetime, step: float, series: Sequence[Series], grid: list[list[float]]
) -> list[Markup]:
    """Areas without colour that say what is in an interval, for a pointer."""
    columns = list(zip(*grid, strict=True))
    width = box.width / max(len(columns), 1)
    drawn = []
    for place, column in enumerate(columns):
        if any(column):
            said = ", ".join(
                f"{numbers.count_text(value)} {each.name}"
                for each, value in zip(series, column, strict=True)
                if value
            )
            path = drawing.rectangle(box.left + place * width, box.top, width, box.height)
            when = numbers.interval_text(start + timedelta(seconds=step * place), step)
            drawn.append(
                Markup('<path d="{}"><title>{}: {}</title></path>').format(path, when, drawing.plain(said))
            )
    return [Markup('<g class="slots">{}</g>').format(Markup("").join(drawn))] if drawn else []


def _rows(start: datetime, step: float, grid: list[list[float]]) -> list[tuple[str, ...]]:
    return [
        (
            numbers.interval_text(start + timedelta(seconds=step * place), step),
            *(numbers.count_text(value) for value in column),
        )
        for place, column in enumerate(zip(*grid, strict=True))
        if any(column)
    ]
