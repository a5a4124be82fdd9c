"""Bars within a row of a table: where a stage begins and how long it takes."""

from markupsafe import Markup

WIDTH_UNITS = 200
HEIGHT_UNITS = 12
LEAST_WIDTH_UNITS = 1.5
"""Of a bar, in the same units, so that a moment is seen."""

_SVG = Markup(
    '<svg class="chart bar" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" '
    'aria-label="{label}"><rect class="track" x="0" y="5" width="{width}" height="2"/>'
    '<rect class="{tone}" x="{x:.2f}" y="1" width="{length:.2f}" height="{inner}" rx="1"/></svg>'
)


def span(start: float, end: float, *, of: float, label: str, tone: str = "good") -> Markup:
    """Return a bar from `start` to `end` on a scale from 0 to `of`, all in the same unit."""
    scale = WIDTH_UNITS / of if of > 0 else 0.0
    x = min(max(start * scale, 0.0), WIDTH_UNITS - LEAST_WIDTH_UNITS)
    length = max(min((end - start) * scale, WIDTH_UNITS - x), LEAST_WIDTH_UNITS)
    return _SVG.format(
        width=WIDTH_UNITS,
        height=HEIGHT_UNITS,
        inner=HEIGHT_UNITS - 2,
        label=label,
        tone=tone,
        x=x,
        length=length,
    )
