"""Small charts within a row of a table or a sentence: a sparkline, and a strip of cells."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from superimap.charts import drawing
from superimap.charts.numbers import cleaned, drawable

SPARK_WIDTH_UNITS, SPARK_HEIGHT_UNITS = 140, 26
CELL_UNITS, STRIP_HEIGHT_UNITS = 12, 24


def sparkline(values: Sequence[float], *, label: str, top: float | None = None, tone: str = "main") -> Markup:
    """Draw a line with the area below it, on a scale from 0 to `top`, or to the largest value."""
    points = cleaned(values)
    scale = max(drawable(top) if top is not None else 0.0, *points, 0.0) or 1.0
    width, height = SPARK_WIDTH_UNITS, SPARK_HEIGHT_UNITS - 2
    marks = [Markup('<path class="base" d="M0 {}H{}"/>').format(SPARK_HEIGHT_UNITS - 0.5, width)]
    if points:
        if len(points) == 1:
            points *= 2
        step = width / (len(points) - 1)
        path = "L".join(
            f"{drawing.number(place * step)} {drawing.number(1 + height * (1 - value / scale))}"
            for place, value in enumerate(points)
        )
        floor = SPARK_HEIGHT_UNITS - 1
        marks.append(Markup('<path class="{} under" d="M0 {}L{}V{}z"/>').format(tone, floor, path, floor))
        marks.append(Markup('<path class="line {}" d="M{}"/>').format(tone, path))
    return drawing.svg(marks, width=width, height=SPARK_HEIGHT_UNITS, label=label, kind="spark")


def strip(values: Sequence[float], names: Sequence[str], *, label: str, tone: str = "bad") -> Markup:
    """Draw a cell for each value, filled from below by its share of the largest; `names` are those of cells."""
    amounts = cleaned(values)
    largest = max(amounts, default=0.0)
    width = max(len(amounts), 1) * CELL_UNITS
    grounds, fills, slots = "", "", []
    for place, amount in enumerate(amounts):
        x = place * CELL_UNITS + 1
        whole = drawing.rectangle(x, 1, CELL_UNITS - 2, STRIP_HEIGHT_UNITS - 2)
        grounds += whole
        if amount > 0:
            full = max((STRIP_HEIGHT_UNITS - 2) * amount / largest, 2.5)
            fills += drawing.rectangle(x, STRIP_HEIGHT_UNITS - 1 - full, CELL_UNITS - 2, full)
            name = drawing.plain(names[place] if place < len(names) else "")
            slots.append(Markup('<path d="{}"><title>{}</title></path>').format(whole, name))
    marks = [
        Markup('<path class="cell" d="{}"/><path class="{}" d="{}"/><g class="slots">{}</g>').format(
            grounds, tone, fills, Markup("").join(slots)
        )
    ]
    return drawing.svg(marks, width=width, height=STRIP_HEIGHT_UNITS, label=label, kind="strip")
