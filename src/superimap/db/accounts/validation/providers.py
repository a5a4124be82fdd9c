"""Fields of providers: which may be set, and their limits."""

import contextlib
import re
from typing import Any, TypedDict
from urllib.parse import urlsplit

from superimap.db.errors import Invalid
from superimap.domain.providers import (
    APP_ONLY_GRANTS,
    ClientAuth,
    GrantType,
    OpenBy,
    PollBy,
    ProviderKind,
    Tls,
    TracerBy,
)
from superimap.webhooks.urls import UrlError, check_url

OAUTH2_FIELDS = ("oauth2_authorize_url", "oauth2_token_url", "oauth2_scope")
COMBINED_FIELDS = (
    "kind", "host_by_user", "oauth2_grant_type", *OAUTH2_FIELDS, "smtp_host", "smtp_tls", "tracer_by",
)  # fmt: skip
"""Fields that are valid or not in combination with others."""

_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")
_HOST_FIELDS = ("imap_host", "smtp_host")
_CHOICES: dict[str, tuple[str, ...]] = {
    "kind": tuple(ProviderKind),
    "imap_tls": tuple(Tls),
    "smtp_tls": tuple(Tls),
    "tracer_by": tuple(TracerBy),
    "poll_by": tuple(PollBy),
    "open_by": tuple(OpenBy),
    "oauth2_grant_type": tuple(GrantType),
    "oauth2_client_auth": tuple(ClientAuth),
}
# Least value, greatest value, and the wording of the error.
_RANGES: dict[str, tuple[float, float, str]] = {
    "imap_port": (1, 65535, "a port from 1 to 65535; IMAP over TLS uses 993"),
    "smtp_port": (1, 65535, "a port from 1 to 65535; STARTTLS uses 587, TLS 465"),
    "idle_renew": (5, 540, "a number of seconds from 5 to 540"),
    "poll_seconds": (5, 300, "a number of seconds from 5 to 300"),
    "logins_per_second": (0.01, 10_000, "a number of logins from 0.01 to 10000"),
    "connections_per_account": (1, 10_000, "a number of connections from 1 to 10000"),
}
_REQUIRED = ("code", "title", "kind", "imap_host", "imap_port", "imap_tls", "host_by_user", "smtp_tls")


class ProviderFields(TypedDict, total=False):
    """Fields of a provider that may be set. None clears; omitted fields do not change."""

    code: str
    title: str
    kind: str
    imap_host: str
    imap_port: int
    imap_tls: str
    host_by_user: bool
    smtp_host: str | None
    smtp_port: int | None
    smtp_domain: str | None
    smtp_tls: str
    tracer_by: str | None
    idle_renew: int | None
    poll_by: str | None
    poll_seconds: int | None
    open_by: str | None
    logins_per_second: float | None
    connections_per_account: int | None
    folders: str | None
    oauth2_grant_type: str | None
    oauth2_client_auth: str | None
    oauth2_scope: str | None
    oauth2_site: str | None
    oauth2_token_method: str | None
    oauth2_token_url: str | None
    oauth2_authorize_url: str | None
    oauth2_response_type: str | None
    oauth2_access_type: str | None
    oauth2_approval_prompt: str | None
    oauth2_userinfo_url: str | None
    oauth2_revoke_url: str | None
    oauth2_issuer: str | None
    oauth2_jwks_url: str | None
    oauth2_email_claims: str | None


def validate_provider(fields: ProviderFields) -> dict[str, Any]:
    """Return the values as they are stored: text stripped, blank as None, the code in capitals. Raises Invalid."""
    values: dict[str, Any] = {
        name: (value.strip() or None) if isinstance(value, str) else value for name, value in fields.items()
    }
    for name, value in values.items():
        if value is None and name in _REQUIRED:
            raise Invalid(name, "must not be blank")
        if value is not None and name == "code":
            values[name] = value.upper()
        if value is not None and (reason := _invalid_reason(name, values[name])):
            raise Invalid(name, reason)
    return values


def check_oauth2_complete(row: dict[str, Any]) -> None:
    """Raise Invalid unless the provider as a whole is consistent.

    An OAuth 2.0 provider needs a token URL and a scope, and an authorize URL unless it is app-only.
    """
    if row.get("host_by_user") and row["kind"] != ProviderKind.PLAIN:
        raise Invalid("host_by_user", "must be off for kind OAUTH2; it is only for providers with passwords")
    if row["kind"] == ProviderKind.OAUTH2:
        grant = row.get("oauth2_grant_type")
        is_app_only = grant in APP_ONLY_GRANTS
        for name in OAUTH2_FIELDS[1:] if is_app_only else OAUTH2_FIELDS:
            if not row.get(name):
                raise Invalid(name, "is missing; an OAUTH2 provider needs it")
        if "{" in row["oauth2_token_url"] and grant != GrantType.CLIENT_CREDENTIALS:
            raise Invalid(
                "oauth2_token_url", "may contain {tenant} only with the grant type client_credentials"
            )
        if grant == GrantType.JWT_BEARER and row.get("oauth2_client_auth") != ClientAuth.PRIVATE_KEY_JWT:
            raise Invalid("oauth2_client_auth", "must be private_key_jwt with the grant type jwt_bearer")


def check_tracers_sendable(row: dict[str, Any]) -> None:
    """Raise Invalid unless tracers can be sent as `tracer_by` says. A password is never sent unencrypted."""
    if row.get("tracer_by") != TracerBy.SMTP:
        return
    if row.get("host_by_user"):
        raise Invalid("tracer_by", "must be append where each user has a mail server of its own")
    if not row.get("smtp_host"):
        raise Invalid("smtp_host", "is missing; tracers by smtp need it")
    if row.get("smtp_tls") == Tls.NONE:
        raise Invalid("smtp_tls", "must be tls or starttls for tracers by smtp, which sign in")


def _invalid_reason(name: str, value: Any) -> str | None:
    """Return what is wrong with a value and what is expected, or None if it is valid."""
    if name == "code" and not _CODE.fullmatch(value):
        return "must be letters, digits and _, starting with a letter, such as ACME_OAUTH2"
    if name in _CHOICES and value not in _CHOICES[name]:
        return f"must be one of {', '.join(_CHOICES[name])}"
    if name in _HOST_FIELDS and not _HOST.fullmatch(value):
        return "must be a host name without scheme and port, such as imap.example.com"
    if name in _RANGES:
        least, greatest, expected = _RANGES[name]
        return None if least <= value <= greatest else f"must be {expected}"
    if name.endswith("_url"):
        return _invalid_url_reason(name, value)
    is_printable = isinstance(value, bool) or value.isprintable()
    return None if is_printable else "must be printable characters on one line"


def _invalid_url_reason(name: str, value: str) -> str | None:
    if name == "oauth2_token_url":
        # The tenant is a partner's input, so it must never be able to change the host.
        with contextlib.suppress(ValueError):  # of what is no URL, which is said below
            if "{" in urlsplit(value).netloc:
                return "may contain {tenant} only in its path"
        value = value.replace("{tenant}", "tenant")
    try:
        check_url(value, field=name)
    except UrlError as error:
        return error.reason
    return None
