"""What are a connection's users doing, and how far has each mailbox been read?"""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.models import Connection, Mailbox, User, UserEvent


async def of_users(
    db: AsyncSession,
    connection: Connection,
    *,
    status: str | None = None,
    archived: bool | None = None,
    limit: int | None = None,
) -> Sequence[User]:
    """The connection's users by email, those without one last; `archived` None means both kinds."""
    statement = select(User).where(
        User.partner_id == connection.partner_id, User.connection_id == connection.id
    )
    if status is not None:
        statement = statement.where(User.status == status)
    if archived is not None:
        statement = statement.where(User.archived == archived)
    return (await db.scalars(statement.order_by(User.email, User.id).limit(limit))).all()


async def of_mailboxes(db: AsyncSession, user: User) -> Sequence[Mailbox]:
    """The user's watched folders with their cursors, by name."""
    statement = (
        select(Mailbox)
        .where(Mailbox.partner_id == user.partner_id, Mailbox.user_id == user.id)
        .order_by(Mailbox.name)
    )
    return (await db.scalars(statement)).all()


async def of_events(db: AsyncSession, user: User, *, limit: int) -> Sequence[UserEvent]:
    """What was recorded of the user's watching, newest first."""
    statement = (
        select(UserEvent)
        .where(UserEvent.partner_id == user.partner_id, UserEvent.user_id == user.id)
        .order_by(UserEvent.id.desc())
        .limit(limit)
    )
    return (await db.scalars(statement)).all()
