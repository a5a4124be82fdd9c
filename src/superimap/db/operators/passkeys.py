"""Passkeys of operators: stored, found by their ids, and removed."""

from collections.abc import Sequence

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.errors import Conflict, NotFound
from superimap.db.models import Operator, Passkey
from superimap.domain.audit import AuditAction

MAX_PASSKEYS = 20
"""Of an operator."""
MAX_NAME_CHARACTERS = 100


async def list_of(db: AsyncSession, operator: Operator) -> Sequence[Passkey]:
    """Return the operator's passkeys, the oldest first."""
    statement = select(Passkey).where(Passkey.operator_id == operator.id).order_by(Passkey.id)
    return (await db.scalars(statement)).all()


async def add(
    db: AsyncSession,
    operator: Operator,
    *,
    name: str,
    credential_id: bytes,
    public_key: bytes,
    sign_count: int,
) -> None:
    """Store a passkey. Raises Conflict if the operator has too many."""
    if len(await list_of(db, operator)) >= MAX_PASSKEYS:
        raise Conflict(f"There are {MAX_PASSKEYS} passkeys already: remove one first.")
    db.add(
        Passkey(
            operator_id=operator.id,
            credential_id=credential_id,
            public_key=public_key,
            sign_count=sign_count,
            name=name[:MAX_NAME_CHARACTERS].replace("\0", ""),
        )
    )
    await db.flush()
    await _record(db, operator)


async def find(db: AsyncSession, credential_id: bytes) -> tuple[Operator, Passkey] | None:
    """Return the passkey with this id and its operator, who is enabled, both locked; None for any other."""
    statement = (
        select(Operator, Passkey)
        .join(Passkey, Passkey.operator_id == Operator.id)
        .where(Passkey.credential_id == credential_id, Operator.disabled_at.is_(None))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    row = (await db.execute(statement)).one_or_none()
    return None if row is None else (row[0], row[1])


async def note_use(db: AsyncSession, passkey: Passkey, *, sign_count: int) -> None:
    """Note that the passkey has signed, and the counter of its authenticator."""
    await db.execute(
        update(Passkey)
        .where(Passkey.id == passkey.id)
        .values(sign_count=sign_count, used_at=func.now())
        .execution_options(synchronize_session=False)
    )


async def remove(db: AsyncSession, operator: Operator, passkey_id: int) -> None:
    """Remove a passkey of the operator. Raises NotFound."""
    statement = delete(Passkey).where(Passkey.id == passkey_id, Passkey.operator_id == operator.id)
    if (await db.execute(statement.returning(Passkey.id))).one_or_none() is None:
        raise NotFound("Passkey not found.")
    await _record(db, operator)


async def _record(db: AsyncSession, operator: Operator) -> None:
    await audit.record(
        db, AuditAction.OPERATOR_UPDATE, partner_id=None, object_id=operator.email, fields=["passkeys"]
    )
