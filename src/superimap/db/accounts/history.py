"""The sweep of a mailbox's history that begins when the mailbox is connected."""

from datetime import datetime, timedelta
from typing import NamedTuple, Self

from sqlalchemy import delete, func, update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.models import Connection, Sweep, User
from superimap.domain.sweeps import ACTIVE, SweepCause, SweepDirection, SweepState, is_new_connection

REPLACED = "the mailbox was connected again"


class UserBefore(NamedTuple):
    """A user before a change, as far as it decides whether the change makes a new connection."""

    was_archived: bool
    connected_at: datetime | None
    last_login_at: datetime | None

    @classmethod
    def of(cls, user: User) -> Self:
        """Return the present state of a user."""
        return cls(user.archived, user.connected_at, user.last_login_at)


async def begin(db: AsyncSession, connection: Connection, user: User, before: UserBefore) -> None:
    """If the change made a new connection, end the sweep of the former one, and create that of its history.

    The new connection may be of another person, whose mail the former sweep must not read. Without days of history
    there is no new sweep. The idler finds it without a notification in the seconds in which the session is
    established.
    """
    days = connection.history_days if user.history_days is None else user.history_days
    since = user.connected_at
    is_new = is_new_connection(
        before=before.connected_at,
        after=since,
        was_archived=before.was_archived,
        last_login_at=before.last_login_at,
    )
    if not is_new or since is None:
        return
    await db.execute(
        update(Sweep)
        .where(Sweep.user_id == user.id, Sweep.state.in_(ACTIVE))
        .values(state=SweepState.CANCELLED.value, reason=REPLACED, finished_at=func.now())
        .execution_options(synchronize_session=False)
    )
    if not days or user.archived:
        return
    await db.execute(delete(Sweep).where(Sweep.user_id == user.id, Sweep.cause == SweepCause.CONNECTED))
    actor = audit.actor_of(db)
    db.add(
        Sweep(
            partner_id=user.partner_id,
            user_id=user.id,
            shard=user.shard,
            since=since - timedelta(days=days),
            direction=SweepDirection.NEWEST.value,
            cause=SweepCause.CONNECTED.value,
            actor_kind=actor.kind,
            made_by=actor.name,
        )
    )
    await db.flush()
