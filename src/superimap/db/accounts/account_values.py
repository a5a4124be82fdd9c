"""What may be set on a connection or a user, how is each value checked, and which are already taken?"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, NoReturn, TypedDict

from sqlalchemy.exc import IntegrityError

from superimap.db.accounts.server_values import SERVER, ServerFields, checked_server
from superimap.db.errors import Conflict, Invalid, NotFound
from superimap.db.models import Provider
from superimap.domain.providers import ProviderKind

LONGEST = {
    "tag": 255,
    "email": 320,
    "login_username": 1024,
    "login_password": 4096,
    "oauth2_refresh_token": 16_384,
    "oauth2_client_id": 1024,
    "oauth2_client_secret": 4096,
    "oauth2_tenant": 253,
}

# A number or a domain, as Microsoft knows its customers: it is put into the path of a URL that gets a secret.
_TENANT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]|\.(?!\.)){0,251}[A-Za-z0-9]")

# The two values that let a user of each kind sign in: the account's name, and its secret.
SIGN_IN: Mapping[str, tuple[str, str]] = {
    ProviderKind.PLAIN: ("login_username", "login_password"),
    ProviderKind.OAUTH2: ("email", "oauth2_refresh_token"),
}


def sign_in(provider: Provider) -> tuple[str, ...]:
    """What lets a user of this provider sign in: the account's name, and its secret unless one opens them all."""
    names = SIGN_IN[provider.kind]
    return names[:1] if provider.is_app_only else names


FLAGS = frozenset(("archived", "enable_tracer"))


class ConnectionFields(TypedDict, total=False):
    """What may be set on a connection; what its provider has no use for is passed over."""

    oauth2_client_id: str | None
    oauth2_client_secret: str | None
    oauth2_tenant: str | None


class UserFields(ServerFields, total=False):
    """What may be set on a user; None or blank clears. What its provider has no use for is passed over."""

    tag: str | None
    email: str | None
    archived: bool
    login_username: str | None
    login_password: str | None
    oauth2_refresh_token: str | None
    enable_tracer: bool


class Taken(Conflict):
    """Another row has this value already; `field` names it."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


def checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The values as they are stored: blank is None, the rest within bounds. Raises Invalid."""
    values: dict[str, Any] = {}
    for name, value in fields.items():
        if name in FLAGS:
            values[name] = bool(value)
        elif name in SERVER:
            values[name] = checked_server(name, value)
        elif name in LONGEST:
            values[name] = None if value is None or not value.strip() else _text(name, value)
    if "tag" in values:
        _check_tag(values["tag"])
    tenant = values.get("oauth2_tenant")
    if tenant is not None and not _TENANT.fullmatch(tenant):
        raise Invalid(
            "oauth2_tenant", "should be the directory's id or a domain of it, such as contoso.onmicrosoft.com"
        )
    return values


def _text(name: str, value: str) -> str:
    if len(value) > LONGEST[name]:
        raise Invalid(name, f"should have at most {LONGEST[name]} characters")
    # Cc: control characters, NUL and line breaks among them. Cs: half a character, which is not UTF-8.
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in value):
        raise Invalid(name, "should hold no control characters")
    return value


def _check_tag(tag: str | None) -> None:
    if tag is None:
        raise Invalid("tag", "should not be blank; send your own name for this user")
    if "/" in tag or tag in {".", ".."}:
        raise Invalid("tag", "should hold no slash and not be a dot or two, which no URL could address")


def translate(error: IntegrityError) -> NoReturn:
    """Raise what a broken constraint means to whoever asked."""
    match _constraint(error):
        case "uq_users_tag":
            raise Taken(
                "tag",
                "Another user of this connection has this tag (the case of letters does not matter). "
                "Update or archive that one, or choose another tag.",
            ) from None
        case "uq_users_email":
            raise Taken(
                "email",
                "Another user of this connection has this email (the case of letters does not matter). "
                "Update or archive that one.",
            ) from None
        case "uq_connections_partner_id_provider_id":
            raise Taken(
                "imap_provider_code", "There is a connection to this provider already; update that one."
            ) from None
        case "fk_users_connection_id_partner_id":
            raise NotFound("Connection not found.") from None
        case _:
            raise Conflict("Somebody else changed this at the same time; read it and try again.") from None


def _constraint(error: IntegrityError) -> str | None:
    """The name of the broken constraint, which asyncpg tells and SQLAlchemy wraps."""
    cause: BaseException | None = error.orig
    while cause is not None:
        if name := getattr(cause, "constraint_name", None):
            return str(name)
        cause = cause.__cause__
    return None
