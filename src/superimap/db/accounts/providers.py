"""Which mail providers may connections use? The catalogue that all partners share."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, TypedDict, Unpack
from urllib.parse import urlsplit

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.errors import Conflict, Invalid, NotFound
from superimap.db.models import Connection, Provider, User
from superimap.domain.presets import Preset
from superimap.domain.providers import GrantType, PollBy, ProviderKind, Tls
from superimap.webhooks.urls import UrlError, check_url

_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")
_HOSTS = ("imap_host", "smtp_host")
_WORDS: dict[str, tuple[str, ...]] = {
    "kind": tuple(ProviderKind),
    "imap_tls": tuple(Tls),
    "smtp_tls": tuple(Tls),
    "poll_by": tuple(PollBy),
    "oauth2_grant_type": tuple(GrantType),
}
# From, to, and what would do.
_RANGES: dict[str, tuple[float, float, str]] = {
    "imap_port": (1, 65535, "a port from 1 to 65535; IMAP over TLS has 993"),
    "smtp_port": (1, 65535, "a port from 1 to 65535; IMAP over TLS has 993"),
    "idle_renew": (5, 540, "seconds from 5 to 540"),
    "poll_seconds": (5, 300, "seconds from 5 to 300"),
    "logins_per_second": (0.01, 10_000, "logins from 0.01 to 10000"),
    "connections_per_account": (1, 10_000, "connections from 1 to 10000"),
}
_REQUIRED = ("code", "title", "kind", "imap_host", "imap_port", "imap_tls", "host_by_user", "smtp_tls")
_OAUTH2 = ("oauth2_authorize_url", "oauth2_token_url", "oauth2_scope")


class Values(TypedDict, total=False):
    """What may be set on a provider; None clears, what is left out stays."""

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
    idle_renew: int | None
    poll_by: str | None
    poll_seconds: int | None
    logins_per_second: float | None
    connections_per_account: int | None
    folders: str | None
    oauth2_grant_type: str | None
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


async def by_code(db: AsyncSession, code: str) -> Provider | None:
    """The provider of this code, in any case of letters, or None."""
    statement = select(Provider).where(func.upper(Provider.code) == code.upper())
    return (await db.scalars(statement)).one_or_none()


async def list_all(db: AsyncSession) -> Sequence[Provider]:
    """Every provider, by code."""
    return (await db.scalars(select(Provider).order_by(Provider.code))).all()


async def create(db: AsyncSession, **values: Unpack[Values]) -> Provider:
    """A new provider. Raises Invalid for a value that will not do, Conflict if the code is taken."""
    row = _clean({"kind": ProviderKind.PLAIN, "imap_port": 993, "imap_tls": Tls.TLS, **values})
    for name in ("code", "title", "imap_host"):
        if name not in row:
            raise Invalid(name, "is missing")
    _check_complete(row)
    statement = insert(Provider).values(row).on_conflict_do_nothing().returning(Provider)
    provider = (await db.scalars(statement)).one_or_none()
    if provider is None:
        raise Conflict(f"There is a provider {row['code']} already; choose another code.")
    return provider


async def install_presets(db: AsyncSession, presets: Iterable[Preset]) -> list[str]:
    """Insert the presets whose code is not there yet; the codes of those. What an operator changed stays."""
    rows = [{**asdict(preset), "kind": preset.kind} for preset in presets]
    statement = insert(Provider).values(rows).on_conflict_do_nothing().returning(Provider.code)
    return sorted(await db.scalars(statement))


async def update(db: AsyncSession, code: str, /, **changes: Unpack[Values]) -> Provider:
    """Set what is given. Raises NotFound, Invalid, or Conflict.

    Kind and grant type stay as they are while connections use the provider: their credentials are of that kind.
    """
    row = _clean(dict(changes))
    provider = await _locked(db, code)
    will_be = Provider(
        **{name: row.get(name, getattr(provider, name)) for name in ("kind", "oauth2_grant_type")}
    )
    if (will_be.kind, will_be.is_app_only) != (provider.kind, provider.is_app_only):
        await _refuse_if_used(db, provider)
    for name, value in row.items():
        setattr(provider, name, value)
    _check_complete(
        {name: getattr(provider, name) for name in ("kind", "host_by_user", "oauth2_grant_type", *_OAUTH2)}
    )
    try:
        await db.flush()
    except IntegrityError:
        raise Conflict(f"There is a provider {row['code']} already; choose another code.") from None
    return provider


async def delete(db: AsyncSession, code: str) -> None:
    """Remove a provider. Raises NotFound, or Conflict while connections use it."""
    provider = await _locked(db, code)
    await _refuse_if_used(db, provider)
    await db.execute(sql_delete(Provider).where(Provider.id == provider.id))


async def _locked(db: AsyncSession, code: str) -> Provider:
    """The provider, closed to changes and new connections until the transaction ends."""
    statement = select(Provider).where(func.upper(Provider.code) == code.upper()).with_for_update()
    provider = (await db.scalars(statement)).one_or_none()
    if provider is None:
        raise NotFound(f"Imap Provider not found for '{code}'.")
    return provider


async def _refuse_if_used(db: AsyncSession, provider: Provider) -> None:
    connections = select(func.count()).where(Connection.provider_id == provider.id).scalar_subquery()
    users = (
        select(func.count())
        .where(User.connection_id.in_(select(Connection.id).where(Connection.provider_id == provider.id)))
        .scalar_subquery()
    )
    used, by = (await db.execute(select(connections, users))).one()
    if used:
        raise Conflict(
            f"{provider.code} is used by {used} connection(s) with {by} user(s); delete those first."
        )


def _clean(values: dict[str, Any]) -> dict[str, Any]:
    """The values as they are stored: text stripped, blank as None, the code in capitals; raises Invalid."""
    stripped = {
        name: (value.strip() or None) if isinstance(value, str) else value for name, value in values.items()
    }
    for name, value in stripped.items():
        if value is None and name in _REQUIRED:
            raise Invalid(name, "cannot be blank")
        if value is not None and name == "code":
            stripped[name] = value.upper()
        if value is not None and (reason := _fault(name, stripped[name])):
            raise Invalid(name, reason)
    return stripped


def _fault(name: str, value: Any) -> str | None:
    """What is wrong with a value and what would do, or None."""
    if name == "code" and not _CODE.fullmatch(value):
        return "should be letters, digits and _, beginning with a letter, such as ACME_OAUTH2"
    if name in _WORDS and value not in _WORDS[name]:
        return f"should be one of {', '.join(_WORDS[name])}"
    if name in _HOSTS and not _HOST.fullmatch(value):
        return "is no host name; give one without scheme or port, such as imap.example.com"
    if name in _RANGES:
        least, most, would_do = _RANGES[name]
        return None if least <= value <= most else f"should be {would_do}"
    if name.endswith("_url"):
        return _url_fault(name, value)
    return (
        None
        if isinstance(value, bool) or value.isprintable()
        else "should be printable characters on one line"
    )


def _url_fault(name: str, value: str) -> str | None:
    if name == "oauth2_token_url":
        # A partner's word goes there, so never into the host's place.
        if "{" in urlsplit(value).netloc:
            return "may have {tenant} in its path alone"
        value = value.replace("{tenant}", "tenant")
    try:
        check_url(value, field=name)
    except UrlError as error:
        return error.reason
    return None


def _check_complete(row: dict[str, Any]) -> None:
    """An OAuth 2.0 provider needs to know where to send people, unless it asks none, and what for."""
    if row.get("host_by_user") and row["kind"] != ProviderKind.PLAIN:
        raise Invalid("host_by_user", "is for providers with passwords; one of OAUTH2 has its server")
    if row["kind"] == ProviderKind.OAUTH2:
        is_app_only = row.get("oauth2_grant_type") == GrantType.CLIENT_CREDENTIALS
        for name in _OAUTH2[1:] if is_app_only else _OAUTH2:
            if not row.get(name):
                raise Invalid(name, "is missing; an OAUTH2 provider needs it")
        if "{" in row["oauth2_token_url"] and not is_app_only:
            raise Invalid(
                "oauth2_token_url", "may have {tenant} with the grant type client_credentials alone"
            )
