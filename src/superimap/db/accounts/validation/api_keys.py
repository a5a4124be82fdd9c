"""Fields of API keys: which may be set, and their limits."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict

from superimap.core.setting_types import parse_networks
from superimap.db.errors import Invalid
from superimap.domain.api_keys import Scope

MAX_NAME_CHARACTERS = 100
MAX_NETWORKS = 50


class KeyFields(TypedDict, total=False):
    """Fields of an API key. No `networks`: every address. `expires_at` can be set at the creation only."""

    name: str
    scopes: Sequence[str]
    networks: Sequence[str]
    expires_at: datetime | None


def validate_key(fields: Mapping[str, Any], *, now: datetime | None = None) -> KeyFields:
    """Return the fields as they are stored. Raises Invalid."""
    values: KeyFields = {}
    if "name" in fields:
        values["name"] = _name(fields["name"])
    if "scopes" in fields:
        values["scopes"] = _scopes(fields["scopes"])
    if "networks" in fields:
        values["networks"] = _networks(fields["networks"])
    if "expires_at" in fields:
        values["expires_at"] = _expiry(fields["expires_at"], now=now or datetime.now(UTC))
    return values


def _name(name: str | None) -> str:
    text = (name or "").strip()
    if not text or len(text) > MAX_NAME_CHARACTERS or not text.isprintable():
        raise Invalid(
            "name", f"must have 1 to {MAX_NAME_CHARACTERS} printable characters, such as billing-reader"
        )
    return text


def _scopes(scopes: Sequence[str] | None) -> list[str]:
    unknown = sorted(set(scopes or ()) - set(Scope))
    if unknown:
        raise Invalid("scopes", f"must be some of {', '.join(Scope)}; got {unknown[0][:40]!r}")
    return sorted(set(scopes or ()))


def _networks(networks: Sequence[str] | None) -> list[str]:
    try:
        parsed: Any = parse_networks(",".join(networks or ()))
    except ValueError as error:
        raise Invalid("networks", str(error)) from None
    if len(parsed) > MAX_NETWORKS:
        raise Invalid("networks", f"must be at most {MAX_NETWORKS} networks")
    return sorted({str(network) for network in parsed})


def _expiry(when: datetime | None, *, now: datetime) -> datetime | None:
    if when is not None and when <= now:
        raise Invalid("expires_at", "must be a time in the future, such as 2027-01-31T00:00:00Z")
    return when
