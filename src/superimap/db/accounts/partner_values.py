"""What may be set on a partner, and how is each value checked?"""

from collections.abc import Sequence
from typing import Any, TypedDict

from superimap.db.errors import Invalid
from superimap.domain.events import EventKind
from superimap.webhooks.urls import UrlError, check_origin, check_url

LONGEST_NAME = 200
WEBHOOKS = {f"{kind}_webhook": kind for kind in EventKind}


class Changes(TypedDict, total=False):
    """What may be set on a partner; a blank URL or an empty list clears, what is left out stays."""

    name: str
    success_url: str | None
    failure_url: str | None
    return_origins: Sequence[str]
    append_results: bool
    new_mail_webhook: str | None
    user_connected_webhook: str | None
    user_disconnected_webhook: str | None
    events_webhook: str | None


def clean(values: dict[str, Any], *, https_only: bool) -> dict[str, Any]:
    """The values as they are stored; raises Invalid."""
    checked: dict[str, Any] = {}
    try:
        for name, value in values.items():
            if name == "name":
                checked[name] = _checked_name(value)
            elif name == "append_results":
                checked[name] = bool(value)
            elif name == "return_origins":
                origins = [check_origin(url, field=name, https_only=https_only) for url in value]
                checked[name] = list(dict.fromkeys(origins))
            else:
                blank = value is None or not value.strip()
                checked[name] = None if blank else check_url(value, field=name, https_only=https_only)
    except UrlError as error:
        raise Invalid(error.field, error.reason) from None
    return checked


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise Invalid("name", f"should be 1 to {LONGEST_NAME} printable characters")
    if name.isdecimal():
        raise Invalid("name", "should not be digits alone, which would read as an id")
    return name
