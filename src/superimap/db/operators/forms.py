"""Forms that were sent: each is accepted once, so that a repeated request changes nothing again."""

from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.models import UsedForm


async def use(db: AsyncSession, digest: bytes, lifetime: timedelta) -> bool:
    """Mark a form as used in the caller's transaction; False if it was used before.

    Two uses at once wait for each other. Each call also deletes some rows that have expired.
    """
    row = {"digest": digest, "expires_at": func.now() + lifetime}
    statement = insert(UsedForm).values(row).on_conflict_do_nothing().returning(UsedForm.digest)
    is_first = await db.scalar(statement) is not None
    ended = select(UsedForm.digest).where(UsedForm.expires_at < func.now()).limit(20)
    await db.execute(delete(UsedForm).where(UsedForm.digest.in_(ended.with_for_update(skip_locked=True))))
    return is_first
