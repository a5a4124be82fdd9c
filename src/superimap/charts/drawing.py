"""Elements of an SVG: marks with classes, textures that differ without colour, axes and a legend.

Text and attributes are escaped by Markup. There is no style attribute and no `<style>`: colours are classes of
dashboard.css.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from markupsafe import Markup

from superimap.charts.numbers import cleaned

WIDTH_UNITS = 480
"""Width of a chart. A unit is about a CSS pixel where two charts are side by side."""

TEXT_UNITS = 8
"""Width of a letter, on average."""

LEGEND_LINE_UNITS = 22


class Texture(StrEnum):
    """How an area is filled, so that series differ without colour."""

    SOLID = "solid"
    HATCHED = "hatched"
    DOTTED = "dotted"
    HOLLOW = "hollow"


@dataclass(frozen=True, slots=True)
class Series:
    """One row of numbers by its name; `tone` is a class of colour: main, good, warn, bad or soft."""

    name: str
    values: Sequence[float]
    tone: str = "main"
    texture: Texture = Texture.SOLID

    @property
    def numbers(self) -> list[float]:
        """The values as they are drawn."""
        return cleaned(self.values)


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing, and the same data as a table: headings, and rows whose first cell is the heading of the row."""

    svg: Markup
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    is_empty: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """The area of the marks."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """From left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """From top to bottom."""
        return self.bottom - self.top

    def y(self, value: float, top: float) -> float:
        """Return the height of a value on a scale from 0 to `top`."""
        return self.bottom - self.height * (min(value / top, 1.0) if top > 0 else 0.0)


def svg(content: Iterable[Markup], *, width: float, height: float, label: str, kind: str) -> Markup:
    """Return the whole drawing; `kind` is a class."""
    return Markup('<svg class="chart {}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        kind, number(width), number(height), plain(label), Markup("").join(content)
    )


def plain(words: str) -> str:
    """Return a text without characters that are hidden, reorder others, or may not be in XML."""
    if words.isprintable():
        return words
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)


def number(value: float) -> str:
    """Return a coordinate with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")


def textures(key: str, series: Iterable[Series]) -> Markup:
    """Return the patterns that these series need. `key` makes their ids unique on a page."""
    needed = [each for each in series if each.texture in _PATTERNS]
    drawn = [_PATTERNS[each.texture].format(_pattern_id(key, each), each.tone) for each in needed]
    return Markup("<defs>{}</defs>").format(Markup("").join(drawn)) if drawn else Markup("")


_PATTERNS = {
    Texture.HATCHED: Markup(
        '<pattern id="{}" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect class="paper" width="5" height="5"/><rect class="{}" width="3" height="5"/></pattern>'
    ),
    Texture.DOTTED: Markup(
        '<pattern id="{}" width="5" height="5" patternUnits="userSpaceOnUse">'
        '<rect class="paper" width="5" height="5"/><circle class="{}" cx="2.5" cy="2.5" r="1.6"/></pattern>'
    ),
}


def _pattern_id(key: str, series: Series) -> str:
    safe = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in key)
    return f"{safe}-{series.texture}-{series.tone}"


def area(path: str, series: Series, key: str) -> Markup:
    """Return an area with the texture of a series; empty for an empty path."""
    if not path:
        return Markup("")
    if series.texture is Texture.SOLID:
        return Markup('<path class="{}" d="{}"/>').format(series.tone, path)
    if series.texture is Texture.HOLLOW:
        return Markup('<path class="hollow {}" d="{}"/>').format(series.tone, path)
    return Markup('<g class="edge {}"><path fill="url(#{})" d="{}"/></g>').format(
        series.tone, _pattern_id(key, series), path
    )


def rectangle(x: float, y: float, width: float, height: float) -> str:
    """Return the path of a rectangle; nothing if it has no height."""
    if height <= 0 or width <= 0:
        return ""
    return f"M{number(x)} {number(y)}h{number(width)}v{number(height)}h{number(-width)}z"


def text(x: float, y: float, words: str, anchor: str = "start") -> Markup:
    """Return a text; `anchor` is start, middle or end."""
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
        number(x), number(y), anchor, plain(words)
    )


def value_axis(box: Box, ticks: Sequence[float], labels: Sequence[str]) -> Markup:
    """Return lines across the area, each with its value at the left."""
    path = "".join(
        f"M{number(box.left)} {number(box.y(tick, ticks[-1]))}H{number(box.right)}" for tick in ticks[1:]
    )
    drawn = [Markup('<path class="grid" d="{}"/>').format(path)]
    drawn += [
        text(box.left - 6, box.y(tick, ticks[-1]) + 4.5, label, "end")
        for tick, label in zip(ticks, labels, strict=True)
    ]
    return Markup("").join(drawn)


def base_line(box: Box) -> Markup:
    """Return the line below the marks."""
    return Markup('<path class="base" d="M{} {}H{}"/>').format(
        number(box.left), number(box.bottom), number(box.right)
    )


def time_axis(box: Box, start: datetime, end: datetime, labels: Iterable[tuple[datetime, str]]) -> Markup:
    """Return the times below the area."""
    whole = max((end - start).total_seconds(), 1e-9)
    drawn = []
    for moment, words in labels:
        x = box.left + box.width * (moment - start).total_seconds() / whole
        drawn.append(Markup('<path class="base" d="M{} {}v5"/>').format(number(x), number(box.bottom)))
        half = TEXT_UNITS * len(words) / 2
        drawn.append(text(min(x, WIDTH_UNITS - half), box.bottom + 19, words, "middle"))
    return Markup("").join(drawn)


def legend(series: Sequence[tuple[Series, bool]], key: str, *, y: float) -> tuple[Markup, float]:
    """Return the names of the series (a line, if the flag is set) in as many rows as needed, and the height."""
    drawn, x, line = [], 0.0, 0
    for each, is_line in series:
        width = 20 + TEXT_UNITS * len(each.name) + 16
        if x > 0 and x + width > WIDTH_UNITS:
            x, line = 0.0, line + 1
        top = y + line * LEGEND_LINE_UNITS
        if is_line:
            drawn.append(
                Markup('<path class="line {}" d="M{} {}h14"/>').format(each.tone, number(x), number(top + 6))
            )
        else:
            drawn.append(area(rectangle(x + 1, top, 12, 12), each, key))
        drawn.append(text(x + 20, top + 11, each.name))
        x += width
    return Markup("").join(drawn), LEGEND_LINE_UNITS * (line + 1)
