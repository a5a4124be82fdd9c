"""The latest of everything that pages show: by this, a page knows that it is out of date."""

from typing import TypeAlias

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.models import Attempt, AuditEntry, Delivery, Message, ProtocolLogLine, UserEvent

Latest: TypeAlias = tuple[object, ...]


async def read_latest(db: AsyncSession) -> Latest:
    """Return values that change with every mail, result of a webhook, event and action; each by an index."""
    statement = select(
        select(func.max(Message.id)).scalar_subquery(),
        select(func.max(Delivery.settled_at)).where(Delivery.settled_at.is_not(None)).scalar_subquery(),
        select(func.max(UserEvent.id)).scalar_subquery(),
        select(func.max(AuditEntry.id)).scalar_subquery(),
        select(func.max(ProtocolLogLine.id)).scalar_subquery(),
        select(Attempt.id).order_by(Attempt.id.desc()).limit(1).scalar_subquery(),
    )
    return tuple((await db.execute(statement)).one())
