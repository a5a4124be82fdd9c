"""Providers: the catalogue of mail providers that all partners share."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.accounts import stored_secrets as secrets
from superimap.db.accounts.constraints import ValueTaken
from superimap.db.accounts.stored_secrets import StoredSecrets
from superimap.db.accounts.validation.providers import (
    COMBINED_FIELDS,
    ProviderFields,
    check_oauth2_complete,
    check_tracers_sendable,
    validate_provider,
)
from superimap.db.errors import Conflict, Invalid, NotFound
from superimap.db.models import Connection, Provider
from superimap.domain.audit import AuditAction
from superimap.domain.destinations import PROVIDER_FIELDS, misdirected_secrets
from superimap.domain.providers import ClientAuth, Preset, ProviderKind, Tls

_CREDENTIAL_FIELDS = ("kind", "oauth2_grant_type", "oauth2_client_auth")


async def by_code(db: AsyncSession, code: str) -> Provider | None:
    """Return the provider with this code (letter case is ignored), or None."""
    statement = select(Provider).where(func.upper(Provider.code) == code.upper())
    return (await db.scalars(statement)).one_or_none()


async def list_all(db: AsyncSession) -> Sequence[Provider]:
    """Return every provider, by code."""
    return (await db.scalars(select(Provider).order_by(Provider.code))).all()


async def create(db: AsyncSession, **fields: Unpack[ProviderFields]) -> Provider:
    """Create a provider. Raises Invalid if a value is not valid, ValueTaken if the code is taken."""
    row = validate_provider({"kind": ProviderKind.PLAIN, "imap_port": 993, "imap_tls": Tls.TLS, **fields})
    for name in ("code", "title", "imap_host"):
        if name not in row:
            raise Invalid(name, "is missing")
    check_oauth2_complete(row)
    check_tracers_sendable(row)
    statement = insert(Provider).values(row).on_conflict_do_nothing().returning(Provider)
    provider = (await db.scalars(statement)).one_or_none()
    if provider is None:
        raise _code_taken(row["code"])
    await _record(db, AuditAction.PROVIDER_CREATE, provider.code, row)
    return provider


async def install_presets(db: AsyncSession, presets: Iterable[Preset]) -> list[str]:
    """Insert the presets whose code does not exist yet and return those codes. Existing rows do not change."""
    rows = [preset.as_row() for preset in presets]
    statement = insert(Provider).values(rows).on_conflict_do_nothing().returning(Provider.code)
    return sorted(await db.scalars(statement))


async def update(
    db: AsyncSession,
    code: str,
    /,
    *,
    stored_secrets: StoredSecrets | None = None,
    **fields: Unpack[ProviderFields],
) -> Provider:
    """Change the given fields. Raises NotFound, Invalid, or Conflict.

    Kind, grant type, and whether clients have a secret or a private key, cannot change while connections use the
    provider, because their credentials depend on it.
    A field that names where secrets are sent changes only with a decision about the `stored_secrets`, if there are
    any.
    """
    row = validate_provider(fields)
    provider = await _lock(db, code)
    changed = Provider(**{name: row.get(name, getattr(provider, name)) for name in _CREDENTIAL_FIELDS})
    if _credential_kind(changed) != _credential_kind(provider):
        await _refuse_if_used(db, provider)
    if not (
        provider.host_by_user and row.get("host_by_user", True)
    ):  # else each user has a server of its own
        misdirected = misdirected_secrets(PROVIDER_FIELDS, provider, row)
        await secrets.decide(db, provider, misdirected, stored_secrets)
    for name, value in row.items():
        setattr(provider, name, value)
    check_oauth2_complete({name: getattr(provider, name) for name in COMBINED_FIELDS})
    check_tracers_sendable({name: getattr(provider, name) for name in COMBINED_FIELDS})
    try:
        await db.flush()
    except IntegrityError:
        raise _code_taken(row["code"]) from None
    decided = {"stored_secrets": stored_secrets} if stored_secrets is not None else {}
    await _record(db, AuditAction.PROVIDER_UPDATE, provider.code, {**row, **decided})
    return provider


def _credential_kind(provider: Provider) -> tuple[str, bool, bool]:
    return provider.kind, provider.is_app_only, provider.client_auth is ClientAuth.PRIVATE_KEY_JWT


async def delete(db: AsyncSession, code: str) -> None:
    """Delete a provider. Raises NotFound, or Conflict while connections use it."""
    provider = await _lock(db, code)
    await _refuse_if_used(db, provider)
    await db.execute(sql_delete(Provider).where(Provider.id == provider.id))
    await _record(db, AuditAction.PROVIDER_DELETE, provider.code, {})


async def _record(db: AsyncSession, action: AuditAction, code: str, values: Mapping[str, Any]) -> None:
    await audit.record(db, action, partner_id=None, object_id=code, fields=values, details=values)


async def _lock(db: AsyncSession, code: str) -> Provider:
    """Lock the provider against changes and new connections until the transaction ends. Raises NotFound."""
    statement = select(Provider).where(func.upper(Provider.code) == code.upper()).with_for_update()
    provider = (await db.scalars(statement)).one_or_none()
    if provider is None:
        raise NotFound(f"Imap Provider not found for '{code}'.")
    return provider


async def _refuse_if_used(db: AsyncSession, provider: Provider) -> None:
    # Not the users of these connections: counting them would read all of them.
    count = await db.scalar(select(func.count()).where(Connection.provider_id == provider.id))
    if count:
        raise Conflict(f"{provider.code} is used by {count} connection(s); delete those first.")


def _code_taken(code: str) -> ValueTaken:
    return ValueTaken("code", f"A provider with the code {code} already exists; choose another code.")
