"""Stalls of users: marked where the mail server gave no proof of life."""

from collections.abc import Sequence

from asyncpg import Connection, Pool

from superimap.db import statements
from superimap.domain.events import UserEventKind
from superimap.domain.shards import SHARD_COUNT
from superimap.domain.users import StatusChange, UserStatus, status_after

BATCH_USERS = 1000
ENDED_AFTER_SECONDS = 600.0
"""Silence of a voucher after which what it vouched for is written to the users."""
BATCH_EVENTS = 5000

_STATEMENTS = statements.load(__file__)
_MARK_STALLED = _STATEMENTS["mark_stalled"]
_FIND_ENDED_VOUCHERS = _STATEMENTS["find_ended_vouchers"]
_KEEP_VOUCHED = _STATEMENTS["keep_vouched"]
_DELETE_VOUCHES = _STATEMENTS["delete_vouches"]
_DELETE_OLD_EVENTS = _STATEMENTS["delete_old_events"]
_DELETE_OLD_PROTOCOL_LOGS = _STATEMENTS["delete_old_protocol_logs"]

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


async def find_ended_vouchers(db: Connection | Pool, *, silence: float = ENDED_AFTER_SECONDS) -> list[int]:
    """Return the vouchers that have not reported for `silence` seconds, as those of idlers that have ended."""
    return [row[0] for row in await db.fetch(*_FIND_ENDED_VOUCHERS.bind(silence=silence))]


async def keep_vouched(
    db: Connection | Pool,
    vouchers: Sequence[int],
    *,
    shards: range = range(SHARD_COUNT),
    silence: float = ENDED_AFTER_SECONDS,
    limit: int = BATCH_USERS,
) -> int:
    """Write what these vouchers vouched for to the users of these shards; return to how many, at most `limit`.

    A voucher that has reported within the last `silence` seconds is skipped.
    """
    count: int = await db.fetchval(
        *_KEEP_VOUCHED.bind(
            first=shards.start,
            last=shards.stop - 1,
            vouchers=list(vouchers),
            silence=silence,
            limit=limit,
        )
    )
    return count


async def delete_vouches(
    db: Connection | Pool, vouchers: Sequence[int], *, silence: float = ENDED_AFTER_SECONDS
) -> None:
    """Delete the vouches of these vouchers, unless they have reported within the last `silence` seconds."""
    await db.execute(*_DELETE_VOUCHES.bind(vouchers=list(vouchers), silence=silence))


async def delete_old_events(db: Connection | Pool, *, days: float, limit: int = BATCH_EVENTS) -> int:
    """Delete events older than `days` unless a delivery of theirs is still to be sent; return how many."""
    tag = await db.execute(*_DELETE_OLD_EVENTS.bind(days=days, limit=limit))
    return int(tag.rpartition(" ")[2])


async def delete_old_protocol_logs(db: Connection | Pool, *, days: float) -> int:
    """Delete protocol logs that ended `days` days ago, with their lines; return how many logs."""
    tag = await db.execute(*_DELETE_OLD_PROTOCOL_LOGS.bind(days=days))
    return int(tag.rpartition(" ")[2])
