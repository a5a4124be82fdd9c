"""Limit of the users that a request may delete with their partner or connection."""

from sqlalchemy import ColumnElement, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.errors import Conflict
from superimap.db.models import Connection, User


async def refuse_many_users(
    db: AsyncSession, which: ColumnElement[bool], most_users: int, command: str
) -> None:
    """Raise Conflict if these connections have more users, archived ones included, than may be deleted at once."""
    linked = select(Connection.id).where(which)
    further = select(literal(1)).select_from(User).where(User.connection_id.in_(linked)).offset(most_users)
    if await db.scalar(further.limit(1)):
        raise Conflict(
            f"It has more than {most_users:,} mailboxes, too many for one request: run `superimap {command}`.",
            kind="too-many-users",
        )
