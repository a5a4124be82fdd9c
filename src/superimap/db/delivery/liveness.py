"""Liveness of users' mail servers: proofs of life, written in batches, and stalls, marked where none came."""

from collections.abc import Mapping

from asyncpg import Connection, Pool

from superimap.db import statements
from superimap.domain.events import UserEventKind
from superimap.domain.users import StatusChange, UserStatus, status_after

BATCH_USERS = 1000
BATCH_EVENTS = 5000

_STATEMENTS = statements.load(__file__)
_RECORD_PROOFS = _STATEMENTS["record_proofs"]
_MARK_STALLED = _STATEMENTS["mark_stalled"]
_DELETE_OLD_EVENTS = _STATEMENTS["delete_old_events"]

# Statuses that can become stalled. In the others no session waits for a proof, or the status says more.
_CAN_STALL = [
    str(status)
    for status in UserStatus
    if status_after(status, StatusChange.UNRESPONSIVE) == UserStatus.STALLED
]


async def record_proofs(pool: Pool, proofs: Mapping[int, float]) -> None:
    """Record how many seconds ago the mail servers of these users answered; a stalled user recovers.

    The rows are locked in one order, so that no two statements wait for each other.
    """
    users = sorted(proofs)
    for start in range(0, len(users), BATCH_USERS):
        batch = users[start : start + BATCH_USERS]
        await pool.execute(
            *_RECORD_PROOFS.bind(
                user_ids=batch,
                ages=[proofs[user_id] for user_id in batch],
                event_kind=UserEventKind.RECOVERED,
            )
        )


async def mark_stalled(db: Connection | Pool, *, after: float, limit: int = BATCH_USERS) -> int:
    """Mark users as stalled whose mail servers gave no proof of life for `after` seconds.

    Users that are not to be watched are skipped. The period restarts when a user is connected or restored, and at
    `retry_at`. Status and event are written in one statement. Returns how many users were marked, at most `limit`;
    a user that another transaction is changing is left for the next call.
    """
    count: int = await db.fetchval(
        *_MARK_STALLED.bind(after=after, statuses=_CAN_STALL, limit=limit, event_kind=UserEventKind.STALLED)
    )
    return count


async def delete_old_events(db: Connection | Pool, *, days: float, limit: int = BATCH_EVENTS) -> int:
    """Delete events older than `days` unless a delivery of theirs is still to be sent; return how many."""
    tag = await db.execute(*_DELETE_OLD_EVENTS.bind(days=days, limit=limit))
    return int(tag.rpartition(" ")[2])
