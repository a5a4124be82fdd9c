"""Second factors of operators: the seed of an authenticator app, and recovery codes."""

from collections.abc import Iterable

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.models import Operator, RecoveryCode
from superimap.db.operators import sessions
from superimap.domain.audit import AuditAction


async def set_totp(
    db: AsyncSession, operator: Operator, sealed: bytes, step: int, *, keep_session: bytes
) -> None:
    """Store the sealed seed, and the time step of the code that proved it. All other sessions end."""
    await _update(db, operator, totp_seed=sealed, totp_step=step)
    await sessions.end_all(db, operator_id=operator.id, keep=keep_session)
    await _record(db, operator, "totp_seed")


async def remove_totp(db: AsyncSession, operator: Operator, *, keep_session: bytes) -> None:
    """Remove the seed and the recovery codes. All other sessions end."""
    await _update(db, operator, totp_seed=None, totp_step=None)
    await db.execute(delete(RecoveryCode).where(RecoveryCode.operator_id == operator.id))
    await sessions.end_all(db, operator_id=operator.id, keep=keep_session)
    await _record(db, operator, "totp_seed")


async def note_step(db: AsyncSession, operator: Operator, step: int) -> None:
    """Note the time step of an accepted code, so that the code is not accepted again."""
    await _update(db, operator, totp_step=step)


async def set_recovery_codes(db: AsyncSession, operator: Operator, digests: Iterable[bytes]) -> None:
    """Replace the operator's recovery codes, given by their digests."""
    await db.execute(delete(RecoveryCode).where(RecoveryCode.operator_id == operator.id))
    await db.execute(insert(RecoveryCode), [{"operator_id": operator.id, "digest": each} for each in digests])
    await _record(db, operator, "recovery_codes")


async def use_recovery_code(db: AsyncSession, operator: Operator, digest: bytes) -> bool:
    """Use up a recovery code; False if there is none with this digest."""
    statement = (
        delete(RecoveryCode)
        .where(RecoveryCode.operator_id == operator.id, RecoveryCode.digest == digest)
        .returning(RecoveryCode.digest)
    )
    return (await db.execute(statement)).one_or_none() is not None


async def count_recovery_codes(db: AsyncSession, operator: Operator) -> int:
    """Return the number of codes that are left."""
    statement = select(func.count()).where(RecoveryCode.operator_id == operator.id)
    return await db.scalar(statement) or 0


async def _update(db: AsyncSession, operator: Operator, **values: object) -> None:
    await db.execute(
        update(Operator)
        .where(Operator.id == operator.id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )


async def _record(db: AsyncSession, operator: Operator, field: str) -> None:
    await audit.record(
        db, AuditAction.OPERATOR_UPDATE, partner_id=None, object_id=operator.email, fields=[field]
    )
