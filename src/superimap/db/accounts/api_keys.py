"""API keys of a partner: creation, look-up, rights, rotation, retirement, and the signing key."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select
from sqlalchemy import update as sql_update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.crypto import Place, Vault, api_key_prefix, digest, generate_api_key
from superimap.db import audit
from superimap.db.accounts.callers import find_caller, record_use, rights_of
from superimap.db.accounts.partner_keys import expire, is_unexpired, lock_partner, next_id
from superimap.db.accounts.validation.api_keys import KeyFields
from superimap.db.errors import Conflict, Forbidden, NotFound
from superimap.db.models import ApiKey
from superimap.domain.api_keys import ALL_SCOPES, KeyRights
from superimap.domain.audit import AuditAction

__all__ = ["find_caller", "record_use", "rights_of"]

HINT_CHARACTERS = 4
"""Random characters of a key that its hint shows after the prefix."""
CELL = "superimap.cell"
"""Key of a session's `info`: the cell that new keys name. Without it they name none."""
MAX_VALID_KEYS = 50
MAX_KEPT_KEYS = 200
"""Keys of a partner, expired ones included. Beyond this number the oldest expired ones are deleted."""


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A new API key, with its secret in clear, which cannot be read again."""

    key: ApiKey
    secret: str = field(repr=False)


async def list_keys(db: AsyncSession, partner_id: int) -> Sequence[ApiKey]:
    """Return the partner's API keys with expired ones, oldest first. `hint` is the start of each key."""
    statement = select(ApiKey).where(ApiKey.partner_id == partner_id).order_by(ApiKey.id)
    return (await db.scalars(statement.execution_options(populate_existing=True))).all()


async def get(db: AsyncSession, partner_id: int, key_id: int) -> ApiKey:
    """Return one key of the partner. Raises NotFound."""
    statement = select(ApiKey).where(ApiKey.partner_id == partner_id, ApiKey.id == key_id)
    key = (await db.scalars(statement.execution_options(populate_existing=True))).one_or_none()
    if key is None:
        raise NotFound(f"The partner has no API key {key_id}.")
    return key


async def signing_key_id(db: AsyncSession, partner_id: int) -> int | None:
    """Return the id of the key that signs webhook bodies: the valid one that was marked last."""
    statement = (
        select(ApiKey.id)
        .where(ApiKey.partner_id == partner_id, is_unexpired(ApiKey), ApiKey.signs_from <= func.now())
        .order_by(ApiKey.signs_from.desc(), ApiKey.id.desc())
        .limit(1)
    )
    return await db.scalar(statement)


async def create(
    db: AsyncSession, vault: Vault, partner_id: int, fields: KeyFields, *, by: KeyRights | None = None
) -> NewApiKey:
    """Create a key that does not sign webhook bodies. Without `scopes` it gets all scopes that it can get.

    `by` holds the rights of the key that asks. Raises Forbidden if the new key had more, and Conflict if
    MAX_VALID_KEYS are valid.
    """
    await lock_partner(db, partner_id)
    values: dict[str, Any] = {"scopes": sorted(by.scopes if by else ALL_SCOPES), **fields}
    if by is not None:
        values.setdefault("networks", [str(network) for network in by.networks])
        values.setdefault("expires_at", by.expires_at)
    key = ApiKey(partner_id=partner_id, **{"networks": [], "expires_at": None, **values})
    _check_grant(rights_of(key), by)
    valid = select(func.count()).where(ApiKey.partner_id == partner_id, is_unexpired(ApiKey))
    if (await db.scalar(valid) or 0) >= MAX_VALID_KEYS:
        raise Conflict(f"{MAX_VALID_KEYS} API keys are valid; retire one first.", kind="quota-exceeded")
    return await _insert(db, vault, key)


async def update(
    db: AsyncSession, partner_id: int, key_id: int, fields: KeyFields, *, by: KeyRights | None = None
) -> ApiKey:
    """Change name, scopes or networks of a key. Raises NotFound, or Forbidden as `create` does."""
    await lock_partner(db, partner_id)
    key = await get(db, partner_id, key_id)
    _check_grant(rights_of(key), by)
    changed = {name: value for name, value in fields.items() if value != getattr(key, name)}
    if not changed:
        return key
    for name, value in changed.items():
        setattr(key, name, value)
    _check_grant(rights_of(key), by)
    await db.flush()
    await _record(db, AuditAction.API_KEY_UPDATE, key, changed)
    return key


async def retire(db: AsyncSession, partner_id: int, key_id: int, *, by: KeyRights | None = None) -> ApiKey:
    """Expire a key now. If it signed webhook bodies, the key that would have followed signs from now on.

    Raises NotFound, Forbidden, or Conflict for the only valid key and for the last one that signs and has no end.
    """
    await lock_partner(db, partner_id)
    key = await get(db, partner_id, key_id)
    _check_grant(replace(rights_of(key), expires_at=by.expires_at if by else None), by)
    others = [each for each in await _valid_keys(db, partner_id) if each.id != key_id]
    if not others:
        raise Conflict(
            "This is the partner's only API key; rotate it first, so that another key replaces it."
        )
    lasting = [each for each in others if each.signs_from is not None and each.expires_at is None]
    if key.signs_from is not None and not lasting:
        raise Conflict(
            "No other key without an end signs the bodies of webhooks; have another key sign first, or rotate it.",
            kind="signing-key",
        )
    key = await _set(db, key, expires_at=func.least(ApiKey.expires_at, func.now()))
    if await signing_key_id(db, partner_id) is None:
        heirs = [each for each in others if each.signs_from is not None]
        if heirs:
            await _set(db, min(heirs, key=lambda each: (each.signs_from, each.id)), signs_from=func.now())
    await _record(db, AuditAction.API_KEY_RETIRE, key, {"expires_at": key.expires_at})
    return key


async def mark_for_signing(
    db: AsyncSession, partner_id: int, key_id: int, *, by: KeyRights | None = None
) -> ApiKey:
    """Have this key sign webhook bodies from now on. The key that signed stays in `signatures` while it is valid.

    Raises NotFound, Forbidden, or Conflict if the key expires: no key would sign afterwards.
    """
    await lock_partner(db, partner_id)
    key = await get(db, partner_id, key_id)
    _check_grant(rights_of(key), by)
    if key.expires_at is not None:
        raise Conflict("A key that expires cannot sign the bodies of webhooks; choose one without an end.")
    pending = (ApiKey.partner_id == partner_id, ApiKey.signs_from > func.now())
    await db.execute(sql_update(ApiKey).where(*pending).values(signs_from=None))
    key = await _set(db, key, signs_from=func.now())
    await _record(db, AuditAction.API_KEY_SIGN, key, {"signs_from": key.signs_from})
    return key


async def rotate(db: AsyncSession, vault: Vault, partner_id: int, *, overlap: timedelta) -> NewApiKey:
    """Replace the signing key: create a key with the same rights, and end those that sign after `overlap`.

    The new key signs once the last of them has expired. Keys that do not sign are not affected.
    """
    await lock_partner(db, partner_id)
    signing_id = await signing_key_id(db, partner_id)
    before = await get(db, partner_id, signing_id) if signing_id is not None else None
    await expire(db, ApiKey, partner_id, overlap, ApiKey.signs_from.is_not(None))
    last = await db.scalar(
        select(func.max(ApiKey.expires_at)).where(
            ApiKey.partner_id == partner_id, ApiKey.signs_from.is_not(None)
        )
    )
    signs_from = func.greatest(func.now(), last)
    rights = {name: getattr(before, name) for name in ("name", "scopes", "networks")} if before else {}
    return await _insert(db, vault, ApiKey(partner_id=partner_id, signs_from=signs_from, **rights))


async def add_first(db: AsyncSession, vault: Vault, partner_id: int) -> str:
    """Create the first key of a partner, with all scopes, which signs webhook bodies. Returns it in clear."""
    return (await _insert(db, vault, ApiKey(partner_id=partner_id, signs_from=func.now()))).secret


def _check_grant(rights: KeyRights, by: KeyRights | None) -> None:
    """Raise Forbidden if a key with the rights `by` may not grant or manage these rights."""
    excess = rights.excess_over(by) if by is not None else None
    if excess is not None:
        raise Forbidden(
            f"Your API key cannot manage a key with more rights than its own ({excess}); use a key that has them.",
            kind="more-rights",
            field=excess,
        )


async def _valid_keys(db: AsyncSession, partner_id: int) -> Sequence[ApiKey]:
    statement = select(ApiKey).where(ApiKey.partner_id == partner_id, is_unexpired(ApiKey))
    return (await db.scalars(statement)).all()


async def _set(db: AsyncSession, key: ApiKey, **values: Any) -> ApiKey:
    statement = sql_update(ApiKey).where(ApiKey.id == key.id).values(values).returning(ApiKey)
    return (await db.scalars(statement.execution_options(populate_existing=True))).one()


async def _insert(db: AsyncSession, vault: Vault, key: ApiKey) -> NewApiKey:
    cell = str(db.info.get(CELL, ""))
    secret, key.id = generate_api_key(cell), await next_id(db, "api_keys")
    key.digest, key.hint = digest(secret), secret[: len(api_key_prefix(cell)) + HINT_CHARACTERS]
    key.secret = vault.seal_text(secret, Place("api_keys", "secret", key.partner_id, str(key.id)))
    db.add(key)
    await db.flush()
    await db.refresh(key)
    await _delete_surplus(db, key.partner_id)
    names = ("name", "scopes", "networks", "expires_at", "signs_from")
    await _record(db, AuditAction.API_KEY_CREATE, key, {name: getattr(key, name) for name in names})
    return NewApiKey(key, secret)


async def _delete_surplus(db: AsyncSession, partner_id: int) -> None:
    """Delete the oldest expired keys beyond MAX_KEPT_KEYS, so that creating and retiring leaves few rows."""
    kept = (
        select(ApiKey.id)
        .where(ApiKey.partner_id == partner_id)
        .order_by(ApiKey.id.desc())
        .limit(MAX_KEPT_KEYS)
    )
    surplus = (ApiKey.partner_id == partner_id, ~is_unexpired(ApiKey), ApiKey.id.not_in(kept))
    await db.execute(sql_delete(ApiKey).where(*surplus))


async def _record(db: AsyncSession, action: AuditAction, key: ApiKey, values: dict[str, Any]) -> None:
    await audit.record(
        db,
        action,
        partner_id=key.partner_id,
        object_id=key.id,
        fields=values,
        details={**values, "name": key.name, "hint": key.hint},
    )
