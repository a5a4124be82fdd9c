"""Work that the sweeper finds: expired leases, endpoints with a delivery due, and rows past their retention.

Raw statements on asyncpg, one per function, each a transaction of its own. All times are PostgreSQL's. A function
that changes rows changes a limited number and returns how many.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from superimap.db import statements
from superimap.db.delivery.deliveries import Db

BATCH_ROWS = 5_000

_STATEMENTS = statements.load(__file__)
_SURVEY_LEASES = _STATEMENTS["survey_leases"]
_RELEASE_EXPIRED = _STATEMENTS["release_expired"]
_RELEASE_OLD_CLAIMS = _STATEMENTS["release_old_claims"]
_END_SILENT_HOLDER = _STATEMENTS["end_silent_holder"]
_RELEASE_HELD = _STATEMENTS["release_held"]
_LIST_OVERDUE = _STATEMENTS["list_overdue"]
_FAIL_DISABLED = _STATEMENTS["fail_disabled"]
_ERASE_OLD_CONTENT = _STATEMENTS["erase_old_content"]
_DELETE_OLD_DELIVERIES = _STATEMENTS["delete_old_deliveries"]
_DELETE_OLD_MESSAGES = _STATEMENTS["delete_old_messages"]


async def survey_leases(db: Db, *, space: int) -> tuple[bool, list[int]]:
    """Return whether leases have expired, and the numbers of absent dispatchers that hold deliveries.

    A running dispatcher holds the advisory lock (`space`, number).
    """
    has_expired, absent = await db.fetchrow(*_SURVEY_LEASES.bind(space=space))
    return has_expired, absent


async def release_expired(db: Db) -> int:
    """Release deliveries whose lease has expired: their dispatcher died, or lost its database."""
    old = _count(await db.execute(*_RELEASE_OLD_CLAIMS.bind(limit=BATCH_ROWS)))
    return old + _count(await db.execute(*_RELEASE_EXPIRED.bind(limit=BATCH_ROWS)))


async def end_silent_holder(db: Db, *, key: int, after: float) -> bool:
    """End the connection that holds an advisory lock if its process has sent nothing for `after` seconds.

    Returns whether there was one. It must belong to the same user of PostgreSQL; that of another is left alone.
    """
    return bool(await db.fetchval(*_END_SILENT_HOLDER.bind(key=key, after=after)))


async def release_held(db: Db, holders: Iterable[int]) -> int:
    """Release the deliveries that these dispatchers hold, which no longer run."""
    return _count(await db.execute(*_RELEASE_HELD.bind(holders=list(holders), limit=BATCH_ROWS)))


@dataclass(frozen=True, slots=True)
class Overdue:
    """An endpoint with a delivery that may be sent and has been due for `late` seconds."""

    endpoint_id: int
    late: float
    is_to_ring: bool


async def overdue_endpoints(db: Db, *, per_partner: int, unhealthy: int) -> list[Overdue]:
    """Return the endpoints with a delivery that is due and may be sent, latest first.

    The doorbells to ring are drawn at random: at most `per_partner` of one partner; at most `unhealthy` of the
    endpoints that failed twice in a row or whose breaker is not closed; and as many of the healthy ones that have
    two POSTs in flight: these may hang, and a retry must not wait for them. An unhealthy endpoint with two POSTs
    in flight is not rung: the next POST that ends claims by itself.
    """
    rows = await db.fetch(*_LIST_OVERDUE.bind(per_partner=per_partner, unhealthy=unhealthy))
    return [Overdue(*row) for row in rows]


async def fail_disabled(db: Db, *, days: float, limit: int = BATCH_ROWS) -> int:
    """Fail the pending deliveries of endpoints that have been disabled for `days`."""
    return _count(await db.execute(*_FAIL_DISABLED.bind(days=days, limit=limit)))


async def erase_old_content(db: Db, *, days: float, limit: int = BATCH_ROWS) -> int:
    """Erase the content of deliveries that failed or were cancelled `days` ago."""
    return _count(await db.execute(*_ERASE_OLD_CONTENT.bind(days=days, limit=limit)))


async def delete_old_deliveries(db: Db, *, days: float, limit: int = BATCH_ROWS) -> int:
    """Delete deliveries that were settled `days` ago, with their attempts."""
    return _count(await db.execute(*_DELETE_OLD_DELIVERIES.bind(days=days, limit=limit)))


async def delete_old_messages(
    db: Db, *, days: float, after: int = 0, limit: int = BATCH_ROWS
) -> tuple[int, int | None]:
    """Delete messages of `days` ago, unless they are deferred or have a delivery that is still to be sent.

    Reads the `limit` messages that follow the id `after`. Returns how many it deleted, and the id after which the
    next call continues, or None if there are no more old ones.
    """
    deleted, last = await db.fetchrow(*_DELETE_OLD_MESSAGES.bind(days=days, after=after, limit=limit))
    return deleted, last


def _count(tag: str) -> int:
    """Return the number at the end of a command tag such as `UPDATE 3`."""
    return int(tag.rpartition(" ")[2])
