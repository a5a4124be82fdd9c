"""Statuses of users, mailboxes and the cluster, read through SQLAlchemy for the API and the command line."""

from collections.abc import Sequence

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from superimap.db.models import Connection, Mailbox, User, UserEvent
from superimap.db.monitoring import cluster_status
from superimap.db.monitoring.cluster_status import ClusterStatus
from superimap.db.presence import IDLER_LOCK_SPACE


async def list_users(
    db: AsyncSession,
    connection: Connection,
    *,
    status: str | None = None,
    archived: bool | None = None,
    limit: int | None = None,
) -> Sequence[User]:
    """Return the connection's users by email, users without an email last. `archived` None returns both kinds.

    Their last proofs of life are not read.
    """
    statement = (
        select(User)
        .where(User.partner_id == connection.partner_id, User.connection_id == connection.id)
        .options(defer(User.last_proven_alive_at, raiseload=True))
    )
    if status is not None:
        statement = statement.where(User.status == status)
    if archived is not None:
        statement = statement.where(User.archived == archived)
    return (await db.scalars(statement.order_by(User.email, User.id).limit(limit))).all()


async def list_mailboxes(db: AsyncSession, user: User) -> Sequence[Mailbox]:
    """Return the user's watched mailboxes with their cursors, by name."""
    statement = (
        select(Mailbox)
        .where(Mailbox.partner_id == user.partner_id, Mailbox.user_id == user.id)
        .order_by(Mailbox.name)
    )
    return (await db.scalars(statement)).all()


async def list_events(db: AsyncSession, user: User, *, limit: int) -> Sequence[UserEvent]:
    """Return the events recorded about the user, newest first."""
    statement = (
        select(UserEvent)
        .where(UserEvent.partner_id == user.partner_id, UserEvent.user_id == user.id)
        .order_by(UserEvent.id.desc())
        .limit(limit)
    )
    return (await db.scalars(statement)).all()


async def read_cluster_status(
    db: AsyncSession, *, expiry: float, count_watched: bool = True
) -> ClusterStatus:
    """Read the status of the cluster. An idler is alive if its heartbeat is younger than `expiry` seconds.

    Without `count_watched`, which reads all users, none is reported as watched.
    """
    given = {"expiry": expiry, "space": IDLER_LOCK_SPACE, "watched": [] if count_watched else [0]}
    row = (await db.execute(text(cluster_status.QUERY), given)).one()
    return cluster_status.from_row(row)
