"""Rendering of dashboard pages: every value is shown as text, and no page runs inline code."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from unicodedata import category

from markupsafe import Markup
from starlette.responses import HTMLResponse

from superimap.api.pages.render import TEMPLATES

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
MAX_SHOWN_CHARACTERS = 2000
"""Of one value on a page."""
_KEPT = frozenset("\n\t\u200c\u200d")  # the joiners belong to Persian, to Indian scripts, and to emoji


def visible(value: Any) -> Any:
    """Return a value as it is shown: characters that hide or reorder others are replaced by their numbers.

    Those are controls, such as NUL and escape, and formats, such as the override of the direction of writing.
    """
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    text = value[:MAX_SHOWN_CHARACTERS]
    if not text.isprintable():
        text = "".join(map(_visible_character, text))
    return text if len(value) <= MAX_SHOWN_CHARACTERS else f"{text}…"


def _visible_character(character: str) -> str:
    is_hidden = character not in _KEPT and category(character) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    return f"⟨U+{ord(character):04X}⟩" if is_hidden else character


def moment(at: datetime | None, *, none: str = "never") -> Markup:
    """Return a time as an element that scripts and screen readers understand; UTC to the second."""
    if at is None:
        return Markup('<span class="none">{}</span>').format(none)
    return Markup('<time datetime="{}">{:%Y-%m-%d %H:%M:%S}</time>').format(at.isoformat(), at)


def instant(at: datetime) -> Markup:
    """Return a time as `moment` does, to the millisecond."""
    text = f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}"
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), text)


def duration(seconds: float) -> str:
    """Return a length of time in the largest unit that is at least one: 250 ms, 12 s, 5 min, 3 h, 2 d."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))} ms"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.1f}".removesuffix(".0") + " s"


def number(count: int, *, most: int | None = None) -> str:
    """Return a count with separators; above `most`, what was counted at least."""
    return f"{most:,}+" if most is not None and count > most else f"{count:,}"


def size(count: int) -> str:
    """Return a number of bytes in the largest unit that is at least one."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if count >= 1024**power:
            return f"{count / 1024**power:,.1f}".removesuffix(".0") + f" {unit}"
    return f"{count} B"


_PAGES = TEMPLATES.overlay(finalize=visible)
_PAGES.filters.update(moment=moment, instant=instant, duration=duration, number=number, size=size)


def render(
    template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: object
) -> HTMLResponse:
    """Render a page of the dashboard or the portal."""
    body = _PAGES.get_template(f"dashboard/{template}").render(**values)
    return HTMLResponse(body, status, {**(headers or {}), "Content-Security-Policy": POLICY})
