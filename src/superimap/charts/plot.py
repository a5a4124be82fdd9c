"""Plots of points: lines that differ by their dashes, dots that differ by their shape, and shaded spans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from markupsafe import Markup

from superimap.charts import drawing
from superimap.charts.axes import Axis
from superimap.charts.drawing import LEGEND_LINE_UNITS, TEXT_UNITS, WIDTH_UNITS, Box, Chart
from superimap.charts.thinning import thin_dots, thin_line

HEIGHT_UNITS = 230
"""Without the legend."""
LEFT_UNITS = 52
MAX_LINE_POINTS = 400
MAX_DOTS = 1500
LEAST_SPAN_UNITS = 2.0
EMPTY_TEXT = "Nothing in this run"

Point = tuple[float, float]


class Dash(StrEnum):
    """How a line is drawn, so that lines differ without colour; the value is an SVG dash array."""

    SOLID = "none"
    DASHED = "7 4"
    DOTTED = "1.5 3"
    CHAINED = "9 3 2 3"


class Mark(StrEnum):
    """Shape of a dot."""

    DOT = "dot"
    CROSS = "cross"
    RING = "ring"


@dataclass(frozen=True, slots=True)
class Line:
    """Points in the order of x; `tone` is a class of colour."""

    name: str
    points: Sequence[Point]
    tone: str = "main"
    dash: Dash = Dash.SOLID


@dataclass(frozen=True, slots=True)
class Dots:
    """Points of one shape."""

    name: str
    points: Sequence[Point]
    tone: str = "main"
    mark: Mark = Mark.DOT


@dataclass(frozen=True, slots=True)
class Span:
    """A shaded part of the x axis; `name` is shown to a pointer."""

    start: float
    end: float
    name: str


def plot(
    x: Axis,
    y: Axis,
    *,
    label: str,
    lines: Sequence[Line] = (),
    dots: Sequence[Dots] = (),
    spans: Sequence[Span] = (),
    spans_name: str = "fault",
    headings: tuple[str, ...] = (),
    rows: Iterable[tuple[str, ...]] = (),
) -> Chart:
    """Draw lines and dots over shaded spans; `headings` and `rows` are the same as a table."""
    named, legend_height = _legend(lines, dots, spans_name if spans else None)
    box = Box(LEFT_UNITS, legend_height + 10, WIDTH_UNITS - 6, legend_height + HEIGHT_UNITS - 28)
    is_empty = not (any(line.points for line in lines) or any(some.points for some in dots))
    marks = [
        named,
        *_spans(box, x, spans),
        _values(box, y),
        drawing.base_line(box),
        _ticks(box, x),
        *(_line(box, x, y, each) for each in lines),
        *(_dots(box, x, y, each) for each in dots),
    ]
    if is_empty:
        middle = (box.left + box.right) / 2
        marks.append(drawing.text(middle, (box.top + box.bottom) / 2, EMPTY_TEXT, "middle"))
    height = legend_height + HEIGHT_UNITS
    svg = drawing.svg(marks, width=WIDTH_UNITS, height=height, label=label, kind="plot")
    return Chart(svg, headings, tuple(rows), is_empty=is_empty)


def _place(box: Box, x: Axis, y: Axis, point: Point) -> tuple[float, float]:
    return box.left + box.width * x.share(point[0]), box.bottom - box.height * y.share(point[1])


def _line(box: Box, x: Axis, y: Axis, line: Line) -> Markup:
    if not line.points:
        return Markup("")
    placed = [_place(box, x, y, point) for point in thin_line(line.points, MAX_LINE_POINTS)]
    if len(placed) == 1:
        placed.append((box.right, placed[0][1]))
    path = "L".join(f"{drawing.number(left)} {drawing.number(top)}" for left, top in placed)
    return Markup('<path class="line {}" stroke-dasharray="{}" d="M{}"/>').format(
        line.tone, line.dash.value, path
    )


def _dots(box: Box, x: Axis, y: Axis, dots: Dots) -> Markup:
    shown = [_place(box, x, y, point) for point in thin_dots(dots.points, MAX_DOTS)]
    if not shown:
        return Markup("")
    return Markup('<path class="{}" d="{}"/>').format(
        f"mark {dots.mark} {dots.tone}", "".join(_mark(dots.mark, left, top) for left, top in shown)
    )


def _mark(mark: Mark, left: float, top: float) -> str:
    """Return the path of a mark: strokes only, so that one path holds all of them."""
    x, y = drawing.number(left), drawing.number(top)
    match mark:
        case Mark.CROSS:
            return f"M{drawing.number(left - 2.5)} {drawing.number(top - 2.5)}l5 5m0-5l-5 5"
        case Mark.RING:
            return f"M{drawing.number(left - 3)} {y}a3 3 0 1 0 6 0a3 3 0 1 0-6 0"
        case Mark.DOT:
            return f"M{x} {y}h.01"  # round caps make it a dot


def _spans(box: Box, x: Axis, spans: Sequence[Span]) -> list[Markup]:
    drawn = []
    for span in spans:
        left = box.left + box.width * x.share(span.start)
        right = box.left + box.width * x.share(span.end)
        width = max(right - left, LEAST_SPAN_UNITS)
        path = drawing.rectangle(min(left, box.right - width), box.top, width, box.height)
        drawn.append(
            Markup('<path class="span" d="{}"><title>{}</title></path>').format(
                path, drawing.plain(span.name)
            )
        )
    return drawn


def _values(box: Box, y: Axis) -> Markup:
    """The lines across the area, each with its value at the left."""
    heights = [box.bottom - box.height * y.share(tick) for tick in y.ticks]
    path = "".join(
        f"M{drawing.number(box.left)} {drawing.number(at)}H{drawing.number(box.right)}" for at in heights[1:]
    )
    labels = [
        drawing.text(box.left - 6, at + 4.5, y.show(tick), "end")
        for tick, at in zip(y.ticks, heights, strict=True)
    ]
    return Markup("").join([Markup('<path class="grid" d="{}"/>').format(path), *labels])


def _ticks(box: Box, x: Axis) -> Markup:
    drawn = []
    for tick in x.ticks:
        left, words = box.left + box.width * x.share(tick), x.show(tick)
        drawn.append(
            Markup('<path class="base" d="M{} {}v5"/>').format(
                drawing.number(left), drawing.number(box.bottom)
            )
        )
        half = TEXT_UNITS * len(words) / 2
        drawn.append(drawing.text(min(left, WIDTH_UNITS - half), box.bottom + 19, words, "middle"))
    return Markup("").join(drawn)


def _legend(lines: Sequence[Line], dots: Sequence[Dots], spans_name: str | None) -> tuple[Markup, float]:
    """The names with a sample of each mark, in as many rows as needed, and the height."""
    samples: list[tuple[str, Markup]] = [
        (
            each.name,
            Markup('<path class="line {}" stroke-dasharray="{}" d="M0 6h22"/>').format(
                each.tone, each.dash.value
            ),
        )
        for each in lines
    ]
    samples += [
        (
            each.name,
            Markup('<path class="mark {} {}" d="{}"/>').format(each.mark, each.tone, _mark(each.mark, 11, 6)),
        )
        for each in dots
    ]
    if spans_name is not None:
        samples.append((spans_name, Markup('<path class="span" d="M4 0h14v12h-14z"/>')))
    drawn, left, row = [], 0.0, 0
    for name, sample in samples:
        width = 28 + TEXT_UNITS * len(name) + 14
        if left > 0 and left + width > WIDTH_UNITS:
            left, row = 0.0, row + 1
        top = 2 + row * LEGEND_LINE_UNITS
        drawn.append(
            Markup('<g transform="translate({} {})">{}</g>').format(
                drawing.number(left), drawing.number(top), sample
            )
        )
        drawn.append(drawing.text(left + 28, top + 11, name))
        left += width
    return Markup("").join(drawn), LEGEND_LINE_UNITS * (row + 1) if samples else 0.0
