"""Rendering of pages: templates with autoescaping, and a strict Content-Security-Policy."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from superimap.webhooks.urls import origin_of

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).resolve().parents[1] / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_page(
    template: str,
    *,
    prefix: str,
    status: int = 200,
    returns_to: Iterable[str | None] = (),
    leads_anywhere: bool = False,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> HTMLResponse:
    """Render a page, whose addresses begin with `prefix`.

    Its form may be posted here, and redirected from here to one of `returns_to`: browsers apply `form-action` to
    the whole chain of redirects. `leads_anywhere`: the chain may pass any site over HTTPS.
    """
    body = TEMPLATES.get_template(template).render(prefix=prefix, **values)
    targets = [
        "'self'",
        *(["https:"] if leads_anywhere else []),
        *dict.fromkeys(origin_of(url) for url in returns_to if url),
    ]
    policy = (
        "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action {' '.join(targets)}"
    )
    return HTMLResponse(body, status, {**(headers or {}), "Content-Security-Policy": policy})
