"""Fields of connections and users: which may be set, and their limits."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from superimap.db.accounts.validation.servers import SERVER_FIELDS, ServerFields, validate_server_field
from superimap.db.errors import Invalid
from superimap.domain.folders import UnusableSelector, check_selectors
from superimap.domain.providers import ProviderKind, SignInRules
from superimap.domain.sweeps import MAX_HISTORY_DAYS

MAX_CHARACTERS = {
    "tag": 255,
    "email": 320,
    "sign_in_email": 320,
    "login_username": 1024,
    "login_password": 4096,
    "oauth2_refresh_token": 16_384,
    "oauth2_client_id": 1024,
    "oauth2_client_secret": 16_384,  # or a private key
    "oauth2_tenant": 253,
}

BOOLEAN_FIELDS = frozenset(("archived", "enable_tracer"))
SESSION_SETTINGS = ("folders", "change_events")
"""Settings of connections and users that a session reads when it starts; each has the time of its last change."""
_SWITCHES = {"on": True, "off": False}

# Microsoft's directory id or a domain of the directory. The value becomes part of the path of a URL that
# receives a secret, so nothing else is allowed.
_TENANT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]|\.(?!\.)){0,251}[A-Za-z0-9]")

SIGN_IN_FIELDS: Mapping[str, tuple[str, str]] = {
    ProviderKind.PLAIN: ("login_username", "login_password"),
    ProviderKind.OAUTH2: ("email", "oauth2_refresh_token"),
}
"""The two fields that a user of each kind of provider needs to sign in: account name and secret."""


class ConnectionFields(TypedDict, total=False):
    """Fields of a connection that may be set. Fields that its provider does not use are ignored."""

    oauth2_client_id: str | None
    oauth2_client_secret: str | None
    oauth2_tenant: str | None
    history_days: int | None
    folders: list[str] | None
    change_events: bool | None


class UserFields(ServerFields, total=False):
    """Fields of a user. None or blank clears. Fields that its provider does not use are ignored."""

    tag: str | None
    email: str | None
    archived: bool
    sign_in_email: str | None
    login_username: str | None
    login_password: str | None
    oauth2_refresh_token: str | None
    enable_tracer: bool
    history_days: int | None
    folders: list[str] | None
    change_events: bool | None


def sign_in_fields(provider: SignInRules) -> tuple[str, ...]:
    """Fields that a user of this provider needs to sign in. App-only: the account name alone."""
    names = SIGN_IN_FIELDS[provider.kind]
    return names[:1] if provider.is_app_only else names


def validate_account(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a connection or user as they are stored: blank becomes None. Raises Invalid."""
    values: dict[str, Any] = {}
    for name, value in fields.items():
        if name in BOOLEAN_FIELDS:
            values[name] = bool(value)
        elif name in SERVER_FIELDS:
            values[name] = validate_server_field(name, value)
        elif name in _CHECKS:
            values[name] = _CHECKS[name](name, value)
        elif name in MAX_CHARACTERS:
            values[name] = None if value is None or not value.strip() else _text(name, value)
    if "tag" in values:
        _check_tag(values["tag"])
    if not all((values.get("sign_in_email") or "a@b").partition("@")):
        raise Invalid("sign_in_email", "must be the email address of the account that signs in")
    tenant = values.get("oauth2_tenant")
    if tenant is not None and not _TENANT.fullmatch(tenant):
        raise Invalid(
            "oauth2_tenant",
            "must be the directory's id or one of its domains, such as contoso.onmicrosoft.com",
        )
    return values


def _switch(name: str, value: object) -> bool | None:
    """Return a setting that is on, off, or not set; forms say `on` and `off`."""
    if value is None or value == "":
        return None
    given = _SWITCHES.get(value) if isinstance(value, str) else value
    if not isinstance(given, bool):
        raise Invalid(name, "must be on, off or empty")
    return given


def _folders(_name: str, value: list[str] | None) -> list[str] | None:
    if not value:
        return None
    try:
        return list(check_selectors(value))
    except UnusableSelector as error:
        raise Invalid("folders", str(error)) from None


def _text(name: str, value: str) -> str:
    if len(value) > MAX_CHARACTERS[name]:
        raise Invalid(name, f"must have at most {MAX_CHARACTERS[name]} characters")
    # Cc: control characters, with NUL and line breaks. Cs: surrogates, which UTF-8 cannot encode.
    checked = value.replace("\r", "").replace("\n", "") if _is_key(name, value) else value
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in checked):
        raise Invalid(name, "must not contain control characters")
    return value


def _days(name: str, value: int | None) -> int | None:
    if value is not None and not 0 <= value <= MAX_HISTORY_DAYS:
        raise Invalid(name, f"must be a whole number of days from 0 to {MAX_HISTORY_DAYS}")
    return value


def _is_key(name: str, value: str) -> bool:
    """Whether the value is a private key in lines, as PEM or JSON."""
    return name == "oauth2_client_secret" and value.lstrip().startswith(("-----BEGIN ", "{"))


def _check_tag(tag: str | None) -> None:
    if tag is None:
        raise Invalid("tag", "must not be blank; send your own name for this user")
    if "/" in tag or tag in {".", ".."}:
        raise Invalid("tag", "must not contain a slash and must not be . or .., because it is part of a URL")


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "folders": _folders,
    "history_days": _days,
    "change_events": _switch,
}
