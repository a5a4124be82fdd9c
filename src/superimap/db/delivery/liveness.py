"""Stalls of users: marked where the mail server gave no proof of life."""

from asyncpg import Connection, Pool

from superimap.db import statements
from superimap.domain.events import UserEventKind
from superimap.domain.shards import SHARD_COUNT
from superimap.domain.users import StatusChange, UserStatus, status_after

BATCH_USERS = 1000
BATCH_EVENTS = 5000

_STATEMENTS = statements.load(__file__)
_MARK_STALLED = _STATEMENTS["mark_stalled"]
_DELETE_OLD_EVENTS = _STATEMENTS["delete_old_events"]

# Statuses that can become stalled. In the others no session waits for a proof, or the status says more.
_CAN_STALL = [
    str(status)
    for status in UserStatus
    if status_after(status, StatusChange.UNRESPONSIVE) == UserStatus.STALLED
]


async def mark_stalled(
    db: Connection | Pool, *, after: float, shards: range = range(SHARD_COUNT), limit: int = BATCH_USERS
) -> int:
    """Mark users of these shards as stalled whose mail servers gave no proof of life for `after` seconds.

    Users that are not to be watched are skipped. The period restarts when a user is connected or restored, and at
    `retry_at`. Status and event are written in one statement. Returns how many users were marked, at most `limit`;
    a user that another transaction is changing is left for the next call.
    """
    count: int = await db.fetchval(
        *_MARK_STALLED.bind(
            first=shards.start,
            last=shards.stop - 1,
            after=after,
            statuses=_CAN_STALL,
            limit=limit,
            event_kind=UserEventKind.STALLED,
        )
    )
    return count


async def delete_old_events(db: Connection | Pool, *, days: float, limit: int = BATCH_EVENTS) -> int:
    """Delete events older than `days` unless a delivery of theirs is still to be sent; return how many."""
    tag = await db.execute(*_DELETE_OLD_EVENTS.bind(days=days, limit=limit))
    return int(tag.rpartition(" ")[2])
