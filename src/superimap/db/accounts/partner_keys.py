"""Keys that sign a partner's webhooks, and the rotation of signing secrets."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

from sqlalchemy import ColumnElement, Select, case, func, or_, select
from sqlalchemy import update as sql_update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.crypto import Place, Vault, generate_signing_secret
from superimap.db import audit
from superimap.db.errors import Conflict, NotFound
from superimap.db.models import ApiKey, Partner, SigningSecret
from superimap.domain.audit import AuditAction
from superimap.webhooks.signing import SigningKeys

MAX_LISTED_SECRETS = 100
MAX_VALID_SECRETS = 5


async def lock_partner(db: AsyncSession, partner_id: int) -> Partner:
    """Lock the partner against other changes of it or its keys until the transaction ends. Raises NotFound."""
    statement = select(Partner).where(Partner.id == partner_id).with_for_update(key_share=True)
    partner = (await db.scalars(statement)).one_or_none()
    if partner is None:
        raise NotFound(f"There is no partner {partner_id}.")
    return partner


async def list_signing_secrets(db: AsyncSession, partner_id: int) -> Sequence[SigningSecret]:
    """Return the partner's latest signing secrets with expired ones, newest first."""
    statement = (
        select(SigningSecret)
        .where(SigningSecret.partner_id == partner_id)
        .order_by(SigningSecret.id.desc())
        .limit(MAX_LISTED_SECRETS)
    )
    return (await db.scalars(statement)).all()


async def rotate_signing_secret(
    db: AsyncSession, vault: Vault, partner_id: int, *, overlap: timedelta
) -> str:
    """Create a signing secret and return it in clear; earlier secrets expire after `overlap`, if not sooner.

    Raises Conflict if MAX_VALID_SECRETS would still be valid: each of them adds a signature to every webhook.
    """
    await lock_partner(db, partner_id)
    await expire(db, SigningSecret, partner_id, overlap)
    valid = select(func.count()).where(SigningSecret.partner_id == partner_id, is_unexpired(SigningSecret))
    if (await db.scalar(valid) or 0) >= MAX_VALID_SECRETS:
        raise Conflict(
            f"{MAX_VALID_SECRETS} signing secrets are still valid; wait until one expires, or "
            "rotate with no overlap, which ends them all."
        )
    return await add_signing_secret(db, vault, partner_id)


async def signing_keys(db: AsyncSession, vault: Vault, partner_id: int) -> SigningKeys:
    """Return the keys that sign the partner's webhooks; empty for an unknown id.

    API keys: the one that signs the body first, then the other valid ones that sign or will. Signing secrets:
    newest first. Raises VaultError if a key cannot be decrypted.
    """
    is_current = func.coalesce(ApiKey.signs_from <= func.now(), False)
    marked = (
        select(ApiKey.id, ApiKey.secret)
        .where(ApiKey.partner_id == partner_id, is_unexpired(ApiKey), ApiKey.signs_from.is_not(None))
        .order_by(
            is_current.desc(),
            case((is_current, ApiKey.signs_from)).desc(),
            ApiKey.signs_from,
            ApiKey.id.desc(),
        )
    )
    secrets = (
        select(SigningSecret.id, SigningSecret.secret)
        .where(SigningSecret.partner_id == partner_id, is_unexpired(SigningSecret))
        .order_by(SigningSecret.id.desc())
    )

    async def opened(statement: Select[int, bytes], table: str) -> tuple[str, ...]:
        rows = await db.execute(statement)
        return tuple(
            vault.open_text(sealed, Place(table, "secret", partner_id, str(row))) for row, sealed in rows
        )

    return SigningKeys(await opened(marked, "api_keys"), await opened(secrets, "signing_secrets"))


async def add_signing_secret(db: AsyncSession, vault: Vault, partner_id: int) -> str:
    """Insert a new signing secret and return it in clear."""
    secret, row = generate_signing_secret(), await next_id(db, "signing_secrets")
    sealed = vault.seal_text(secret, Place("signing_secrets", "secret", partner_id, str(row)))
    db.add(SigningSecret(id=row, partner_id=partner_id, secret=sealed))
    await db.flush()
    await audit.record(db, AuditAction.SIGNING_SECRET_ROTATE, partner_id=partner_id, object_id=row)
    return secret


def is_unexpired(model: type[ApiKey] | type[SigningSecret]) -> ColumnElement[bool]:
    """Return the condition that a key or secret is valid."""
    return or_(model.expires_at.is_(None), model.expires_at > func.now())


def is_valid(key: ApiKey | SigningSecret) -> bool:
    """Whether a key or secret that was read is valid, by the clock of this process."""
    return key.expires_at is None or key.expires_at > datetime.now(UTC)


async def expire(
    db: AsyncSession,
    model: type[ApiKey] | type[SigningSecret],
    partner_id: int,
    overlap: timedelta,
    *which: ColumnElement[bool],
) -> None:
    """Have the partner's keys or secrets expire after `overlap`, if not sooner."""
    statement = sql_update(model).where(model.partner_id == partner_id, *which)
    # least() ignores NULL, which means "never expires".
    values = {"expires_at": func.least(model.expires_at, func.now() + overlap)}
    await db.execute(statement.values(values).execution_options(synchronize_session=False))


async def next_id(db: AsyncSession, table: str) -> int:
    """Draw the id of the row to insert, because the secret is encrypted for that id."""
    drawn = await db.scalar(select(func.nextval(func.pg_get_serial_sequence(table, "id"))))
    return cast(int, drawn)
