"""Fields of partners: which may be set, and their limits."""

from collections.abc import Sequence
from typing import Any, TypedDict

from superimap.db.errors import Invalid
from superimap.domain.events import EventKind
from superimap.webhooks.urls import UrlError, check_origin, check_url

MAX_NAME_CHARACTERS = 200
WEBHOOK_FIELDS = {f"{kind}_webhook": kind for kind in EventKind}


class PartnerFields(TypedDict, total=False):
    """Fields of a partner that may be set. A blank URL or an empty list clears; omitted fields do not change."""

    name: str
    success_url: str | None
    failure_url: str | None
    return_origins: Sequence[str]
    append_results: bool
    send_traceparent: bool
    new_mail_webhook: str | None
    user_connected_webhook: str | None
    user_disconnected_webhook: str | None
    events_webhook: str | None


def validate_partner(fields: PartnerFields, *, https_only: bool) -> dict[str, Any]:
    """Return the values as they are stored. Raises Invalid."""
    values: dict[str, Any] = {}
    try:
        for name, value in fields.items():
            values[name] = _validate_field(name, value, https_only=https_only)
    except UrlError as error:
        raise Invalid(error.field, error.reason) from None
    return values


def _validate_field(name: str, value: Any, *, https_only: bool) -> Any:
    if name == "name":
        return _partner_name(value)
    if name in ("append_results", "send_traceparent"):
        return bool(value)
    if name == "return_origins":
        origins = [check_origin(url, field=name, https_only=https_only) for url in value]
        return list(dict.fromkeys(origins))
    is_blank = value is None or not value.strip()
    return None if is_blank else check_url(value, field=name, https_only=https_only)


def _partner_name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise Invalid("name", f"must be 1 to {MAX_NAME_CHARACTERS} printable characters")
    if name.isdecimal():
        raise Invalid("name", "must not be digits only, because digits are read as an id")
    return name
