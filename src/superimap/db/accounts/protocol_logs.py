"""Protocol logs, for operators: requested, ended and read."""

from collections.abc import Sequence

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.errors import Conflict
from superimap.db.models import ProtocolLog, ProtocolLogLine, User
from superimap.domain.audit import AuditAction
from superimap.domain.protocol_logs import LOG_TIME, MAX_LOGS


async def start(db: AsyncSession, user: User) -> None:
    """Have the conversation of a mailbox kept for some minutes; a former log of it is deleted.

    Raises Conflict if too many mailboxes are logged.
    """
    others = select(func.count()).where(ProtocolLog.ends_at > func.now(), ProtocolLog.user_id != user.id)
    if (await db.scalar(others) or 0) >= MAX_LOGS:
        raise Conflict(f"The protocols of {MAX_LOGS} mailboxes are logged already. End one of them first.")
    await db.execute(delete(ProtocolLogLine).where(ProtocolLogLine.user_id == user.id))
    values = {
        "requested_by": audit.actor_of(db).name,
        "started_at": func.now(),
        "ends_at": func.now() + LOG_TIME,
        "lines": 0,
    }
    statement = insert(ProtocolLog).values(user_id=user.id, **values)
    await db.execute(statement.on_conflict_do_update(index_elements=["user_id"], set_=values))
    await _record(db, user, "started")


async def end(db: AsyncSession, user: User) -> None:
    """End the log of a mailbox. Its lines stay for a day."""
    await db.execute(
        update(ProtocolLog)
        .where(ProtocolLog.user_id == user.id, ProtocolLog.ends_at > func.now())
        .values(ends_at=func.now())
        .execution_options(synchronize_session=False)
    )
    await _record(db, user, "ended")


async def find(db: AsyncSession, user_id: int) -> tuple[ProtocolLog, bool] | None:
    """Return the log of a mailbox, and whether it runs; None if there is none."""
    runs = ProtocolLog.ends_at > func.now()
    row = (await db.execute(select(ProtocolLog, runs).where(ProtocolLog.user_id == user_id))).one_or_none()
    return None if row is None else (row[0], bool(row[1]))


async def list_lines(
    db: AsyncSession, user_id: int, *, limit: int, before: int | None = None
) -> Sequence[ProtocolLogLine]:
    """Return lines of a log, the latest first; `before` is the id of the last line of the previous page."""
    statement = select(ProtocolLogLine).where(ProtocolLogLine.user_id == user_id)
    if before is not None:
        statement = statement.where(ProtocolLogLine.id < before)
    return (await db.scalars(statement.order_by(ProtocolLogLine.id.desc()).limit(limit))).all()


async def _record(db: AsyncSession, user: User, state: str) -> None:
    await audit.record(
        db,
        AuditAction.USER_PROTOCOL_LOG,
        partner_id=user.partner_id,
        object_id=user.id,
        details={"tag": user.tag, "state": state},
    )
