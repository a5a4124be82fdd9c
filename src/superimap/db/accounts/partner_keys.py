"""API keys and signing secrets of a partner: look-up, listing, rotation and retirement."""

from collections.abc import Sequence
from datetime import timedelta
from typing import cast

from sqlalchemy import ColumnElement, func, literal, or_, select, text, union_all
from sqlalchemy import update as sql_update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.crypto import (
    Place,
    Vault,
    constant_time_equal,
    digest,
    generate_api_key,
    generate_signing_secret,
)
from superimap.db.errors import Conflict, NotFound
from superimap.db.models import ApiKey, Partner, SigningSecret
from superimap.webhooks.signing import SigningKeys

HINT_CHARACTERS = 8
MAX_LISTED_SECRETS = 100
MAX_VALID_SECRETS = 5


async def find_partner(db: AsyncSession, api_key: str) -> Partner | None:
    """Return the partner that owns this API key; None if the key is unknown or expired."""
    sought = digest(api_key)
    statement = (
        select(Partner, ApiKey.digest)
        .join(ApiKey, ApiKey.partner_id == Partner.id)
        .where(ApiKey.digest == sought, _unexpired(ApiKey))
    )
    row = (await db.execute(statement)).one_or_none()
    return row[0] if row is not None and constant_time_equal(row[1], sought) else None


async def lock_partner(db: AsyncSession, partner_id: int) -> Partner:
    """Lock the partner against other changes of it or its keys until the transaction ends. Raises NotFound."""
    statement = select(Partner).where(Partner.id == partner_id).with_for_update(key_share=True)
    partner = (await db.scalars(statement)).one_or_none()
    if partner is None:
        raise NotFound(f"There is no partner {partner_id}.")
    return partner


async def list_api_keys(db: AsyncSession, partner_id: int) -> Sequence[ApiKey]:
    """Return the partner's API keys with expired ones, oldest first. `hint` is the start of each key."""
    statement = select(ApiKey).where(ApiKey.partner_id == partner_id).order_by(ApiKey.id)
    return (await db.scalars(statement)).all()


async def list_signing_secrets(db: AsyncSession, partner_id: int) -> Sequence[SigningSecret]:
    """Return the partner's latest signing secrets with expired ones, newest first."""
    statement = (
        select(SigningSecret)
        .where(SigningSecret.partner_id == partner_id)
        .order_by(SigningSecret.id.desc())
        .limit(MAX_LISTED_SECRETS)
    )
    return (await db.scalars(statement)).all()


async def rotate_api_key(db: AsyncSession, vault: Vault, partner_id: int, *, overlap: timedelta) -> str:
    """Create an API key and return it in clear; earlier keys expire after `overlap`, if not sooner."""
    await lock_partner(db, partner_id)
    await _expire(db, ApiKey, partner_id, overlap)
    return await add_api_key(db, vault, partner_id)


async def rotate_signing_secret(
    db: AsyncSession, vault: Vault, partner_id: int, *, overlap: timedelta
) -> str:
    """Create a signing secret and return it in clear; earlier secrets expire after `overlap`, if not sooner.

    Raises Conflict if MAX_VALID_SECRETS would still be valid: each of them adds a signature to every webhook.
    """
    await lock_partner(db, partner_id)
    await _expire(db, SigningSecret, partner_id, overlap)
    valid = select(func.count()).where(SigningSecret.partner_id == partner_id, _unexpired(SigningSecret))
    if (await db.scalar(valid) or 0) >= MAX_VALID_SECRETS:
        raise Conflict(
            f"{MAX_VALID_SECRETS} signing secrets are still valid; wait until one expires, or "
            "rotate with no overlap, which ends them all."
        )
    return await add_signing_secret(db, vault, partner_id)


async def retire_api_key(db: AsyncSession, partner_id: int, key_id: int) -> ApiKey:
    """Expire an API key now. Raises NotFound, or Conflict if the partner has no other unexpired key."""
    await lock_partner(db, partner_id)
    keys = await list_api_keys(db, partner_id)
    key = next((key for key in keys if key.id == key_id), None)
    if key is None:
        raise NotFound(f"The partner has no API key {key_id}.")
    live = await db.scalars(select(ApiKey.id).where(ApiKey.partner_id == partner_id, _unexpired(ApiKey)))
    if set(live) == {key_id}:
        raise Conflict(
            "This is the partner's only API key; rotate it first, so that another key replaces it."
        )
    statement = (
        sql_update(ApiKey)
        .where(ApiKey.id == key_id)
        .values(expires_at=func.least(ApiKey.expires_at, func.now()))
        .returning(ApiKey)
        .execution_options(populate_existing=True)
    )
    return (await db.scalars(statement)).one()


async def signing_keys(db: AsyncSession, vault: Vault, partner_id: int) -> SigningKeys:
    """Return the unexpired API keys, oldest first, and signing secrets, newest first; empty for an unknown id.

    The body is signed with the first API key, so its signature keeps the old key until that expires or is
    retired. Raises VaultError if a key cannot be decrypted.
    """
    statement = union_all(
        *(
            select(literal(model.__tablename__).label("place"), model.id.label("id"), model.secret).where(
                model.partner_id == partner_id, _unexpired(model)
            )
            for model in (ApiKey, SigningSecret)
        )
    ).order_by(text("id"))
    keys: list[str] = []
    secrets: list[str] = []
    for table, row, sealed in await db.execute(statement):
        opened = vault.open_text(sealed, Place(table, "secret", partner_id, str(row)))
        (keys if table == ApiKey.__tablename__ else secrets).append(opened)
    return SigningKeys(tuple(keys), tuple(reversed(secrets)))


async def add_api_key(db: AsyncSession, vault: Vault, partner_id: int) -> str:
    """Insert a new API key and return it in clear."""
    api_key, row = generate_api_key(), await _next_id(db, "api_keys")
    sealed = vault.seal_text(api_key, Place("api_keys", "secret", partner_id, str(row)))
    hint = api_key[:HINT_CHARACTERS]
    db.add(ApiKey(id=row, partner_id=partner_id, digest=digest(api_key), secret=sealed, hint=hint))
    await db.flush()
    return api_key


async def add_signing_secret(db: AsyncSession, vault: Vault, partner_id: int) -> str:
    """Insert a new signing secret and return it in clear."""
    secret, row = generate_signing_secret(), await _next_id(db, "signing_secrets")
    sealed = vault.seal_text(secret, Place("signing_secrets", "secret", partner_id, str(row)))
    db.add(SigningSecret(id=row, partner_id=partner_id, secret=sealed))
    await db.flush()
    return secret


def _unexpired(model: type[ApiKey] | type[SigningSecret]) -> ColumnElement[bool]:
    return or_(model.expires_at.is_(None), model.expires_at > func.now())


async def _expire(
    db: AsyncSession, model: type[ApiKey] | type[SigningSecret], partner_id: int, overlap: timedelta
) -> None:
    statement = sql_update(model).where(model.partner_id == partner_id)
    # least() ignores NULL, which means "never expires".
    await db.execute(statement.values(expires_at=func.least(model.expires_at, func.now() + overlap)))


async def _next_id(db: AsyncSession, table: str) -> int:
    """Draw the id of the row to insert, because the secret is encrypted for that id."""
    drawn = await db.scalar(select(func.nextval(func.pg_get_serial_sequence(table, "id"))))
    return cast(int, drawn)
