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
    marks = []
    for place, amount in enumerate(amounts):
        x = place * CELL_UNITS
        full = max((STRIP_HEIGHT_UNITS - 2) * amount / largest, 2.5) if amount > 0 else 0.0
        name = names[place] if place < len(names) else ""
        marks.append(
            Markup('<g><title>{}</title><path class="cell" d="{}"/>{}</g>').format(
                drawing.plain(name),
                drawing.rectangle(x + 1, 1, CELL_UNITS - 2, STRIP_HEIGHT_UNITS - 2),
                Markup('<path class="{}" d="{}"/>').format(
                    tone, drawing.rectangle(x + 1, STRIP_HEIGHT_UNITS - 1 - full, CELL_UNITS - 2, full)
                )
                if full
                else "",
            )
        )
    return drawing.svg(marks, width=width, height=STRIP_HEIGHT_UNITS, label=label, kind="strip")
