"""Waterfall: bars one below the other, each where it begins and as long as it takes, with name and duration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from superimap.charts import drawing, numbers
from superimap.charts.drawing import Box, Chart

WIDTH_UNITS = 640
ROW_UNITS = 26
BAR_UNITS = 14
NAMES_UNITS = 150
TIMES_UNITS = 80
INDENT_UNITS = 14
MARGIN_UNITS = 8
LEAST_WIDTH_UNITS = 2.0

_COLOURS = """\
svg { --ink: #1d2330; --soft: #596377; --paper: #fff; --main: #4338ca; --bad: #b42318; --good: #067647;
  --warn: #8a4b08; --rule: #d9dee8; --line: #8a93a6; }
@media (prefers-color-scheme: dark) { svg { --ink: #eef1f6; --soft: #aab3c5; --paper: #1c2130; --main: #a5b4fc;
  --bad: #fda29b; --good: #75e0a7; --warn: #f7c873; --rule: #2f3749; --line: #7b869c; } }
text { fill: var(--ink); font: 13px system-ui, sans-serif; }
.main { fill: var(--main); } .bad { fill: var(--bad); } .good { fill: var(--good); } .warn { fill: var(--warn); }
.ground { fill: var(--paper); }
.grid, .base { stroke: var(--rule); stroke-width: 1; } .base { stroke: var(--line); }
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A bar: where it begins and how long it takes, in seconds; `depth` is 1 below another one."""

    name: str
    start_seconds: float
    seconds: float
    tone: str = "main"
    depth: int = 0
    note: str = ""


def waterfall(rows: Sequence[Row], *, label: str) -> Chart:
    """Draw rows on a scale from 0 to the end of the last one."""
    whole = max((row.start_seconds + row.seconds for row in rows), default=0.0)
    height = ROW_UNITS * len(rows) + 34
    box = Box(NAMES_UNITS, 6, WIDTH_UNITS - TIMES_UNITS, height - 28)
    marks = [_axis(box, whole), *(_row(box, row, place, whole) for place, row in enumerate(rows))]
    cells = tuple((row.name, f"{row.start_seconds:.3f} s", f"{row.seconds:.3f} s", row.note) for row in rows)
    drawn = drawing.svg(marks, width=WIDTH_UNITS, height=height, label=label, kind="waterfall")
    return Chart(drawn, ("Stage", "Begins", "Takes", ""), cells, is_empty=not rows)


def as_file(chart: Chart) -> str:
    """Return the drawing as a file of its own, with its colours for light and dark pages."""
    head, rest = str(chart.svg).split(">", 1)
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    ground = '<rect class="ground" width="100%" height="100%"/>'
    return f"{head}>\n<style>\n{_COLOURS}</style>\n{ground}{rest}\n"


def _axis(box: Box, whole: float) -> Markup:
    drawn = [drawing.base_line(box)]
    for tick in (tick for tick in numbers.value_ticks(whole) if tick <= whole):
        x = drawing.number(_x(box, tick, whole))
        drawn.append(
            Markup('<path class="grid" d="M{} {}V{}"/>').format(
                x, drawing.number(box.top), drawing.number(box.bottom)
            )
        )
        words = numbers.duration_text(tick) if tick else "0"
        drawn.append(drawing.text(float(x), box.bottom + 18, words, "middle"))
    return Markup("").join(drawn)


def _row(box: Box, row: Row, place: int, whole: float) -> Markup:
    top = box.top + ROW_UNITS * place + (ROW_UNITS - BAR_UNITS) / 2
    start, end = _x(box, row.start_seconds, whole), _x(box, row.start_seconds + row.seconds, whole)
    bar = drawing.rectangle(start, top, max(end - start, LEAST_WIDTH_UNITS), BAR_UNITS)
    note = f", {row.note}" if row.note else ""
    title = f"{row.name}{note}: {row.start_seconds:.3f} s after the first, {row.seconds:.3f} s"
    return Markup('<g><title>{}</title>{}<path class="{}" d="{}"/>{}</g>').format(
        drawing.plain(title),
        drawing.text(MARGIN_UNITS + INDENT_UNITS * row.depth, top + 12, f"{row.name} {row.note}".strip()),
        row.tone,
        bar,
        drawing.text(WIDTH_UNITS - MARGIN_UNITS, top + 12, numbers.duration_text(row.seconds), "end"),
    )


def _x(box: Box, seconds: float, whole: float) -> float:
    return box.left + (box.width * seconds / whole if whole > 0 else 0.0)
