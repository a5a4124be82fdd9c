"""Strip of events: a row for each kind, and a mark for each event at its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from superimap.charts import drawing, numbers
from superimap.charts.axes import Axis
from superimap.charts.drawing import WIDTH_UNITS, Box, Chart

ROW_UNITS = 22
MARK_UNITS = 14
LEFT_UNITS, RIGHT_UNITS = 150, 44


def raster(
    x: Axis,
    events: Mapping[str, Sequence[float]],
    *,
    label: str,
    tone: str = "bad",
    headings: tuple[str, ...] = (),
    rows: Sequence[tuple[str, ...]] = (),
) -> Chart:
    """Draw the moments of each kind, with the name at the left and the number at the right."""
    height = ROW_UNITS * max(len(events), 1) + 30
    box = Box(LEFT_UNITS, 4, WIDTH_UNITS - RIGHT_UNITS, height - 26)
    marks = []
    for row, (name, moments) in enumerate(events.items()):
        top = box.top + row * ROW_UNITS + (ROW_UNITS - MARK_UNITS) / 2
        # Marks at the same place of the drawing are one mark.
        places = sorted({drawing.number(box.left + box.width * x.share(at)) for at in moments}, key=float)
        path = "".join(f"M{place} {drawing.number(top)}v{MARK_UNITS}" for place in places)
        middle = drawing.number(top + MARK_UNITS / 2)
        marks += [
            Markup('<path class="grid" d="M{} {}H{}"/>').format(
                drawing.number(box.left), middle, drawing.number(box.right)
            ),
            Markup('<path class="line {}" d="{}"/>').format(tone, path) if path else Markup(""),
            drawing.text(box.left - 8, top + 11.5, name, "end"),
            drawing.text(WIDTH_UNITS, top + 11.5, numbers.short_count(len(moments)), "end"),
        ]
    marks += [drawing.base_line(box), _ticks(box, x)]
    svg = drawing.svg(marks, width=WIDTH_UNITS, height=height, label=label, kind="raster")
    return Chart(svg, headings, tuple(rows), is_empty=not any(events.values()))


def _ticks(box: Box, x: Axis) -> Markup:
    drawn = []
    for tick in x.ticks:
        left = box.left + box.width * x.share(tick)
        drawn.append(
            Markup('<path class="base" d="M{} {}v5"/>').format(
                drawing.number(left), drawing.number(box.bottom)
            )
        )
        drawn.append(drawing.text(left, box.bottom + 19, x.show(tick), "middle"))
    return Markup("").join(drawn)
