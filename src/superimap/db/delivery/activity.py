"""Rollup of messages, deliveries, attempts and events to counts per interval, and the retention of these.

Raw statements on asyncpg. A step counts the rows of a source up to a time, and moves the mark of the source in
the same transaction: after a kill at any moment each row is counted once. All times are PostgreSQL's, except those
in the ids of attempts.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from superimap.core.ids import min_uuid7
from superimap.db import statements
from superimap.db.delivery import traces
from superimap.db.delivery.deliveries import Db
from superimap.domain import activity
from superimap.domain.activity import ActivitySource, Coarsening
from superimap.domain.answers import LocalError
from superimap.domain.events import UserEventKind
from superimap.domain.mail_stages import MAX_PROVIDER_SECONDS, WATCHED_NUMBERS

BATCH_ROWS = 5_000
"""Rows that one step of the retention changes at most."""

MAX_MESSAGES = 20_000
"""Messages that one step counts at most."""

_STATEMENTS = statements.load(__file__)
_LOCK_MARK = _STATEMENTS["lock_mark"]
_MOVE_MARK = _STATEMENTS["move_mark"]
_FIND_LAST_MESSAGE = _STATEMENTS["find_last_message"]
_ADD_MESSAGES = _STATEMENTS["add_messages"]
_ADD_DELIVERIES = _STATEMENTS["add_deliveries"]
_ADD_ATTEMPTS = _STATEMENTS["add_attempts"]
_ADD_EVENTS = _STATEMENTS["add_events"]
_SAMPLE_IDLERS = _STATEMENTS["sample_idlers"]
_COARSEN_PARTNERS = _STATEMENTS["coarsen_partners"]
_COARSEN_PROVIDERS = _STATEMENTS["coarsen_providers"]
_DELETE_OLD_PARTNERS = _STATEMENTS["delete_old_partners"]
_DELETE_OLD_PROVIDERS = _STATEMENTS["delete_old_providers"]
_DELETE_OLD_IDLERS = _STATEMENTS["delete_old_idlers"]

_ADD = {
    ActivitySource.MESSAGES: _ADD_MESSAGES,
    ActivitySource.DELIVERIES: _ADD_DELIVERIES,
    ActivitySource.ATTEMPTS: _ADD_ATTEMPTS,
    ActivitySource.EVENTS: _ADD_EVENTS,
}
_GRAINS = {
    "partner_grain": activity.PARTNER_GRAIN_SECONDS,
    "provider_grain": activity.PROVIDER_GRAIN_SECONDS,
}


async def count_slice(
    pool: Db,
    source: ActivitySource,
    *,
    lag: float = activity.SETTLE_LAG_SECONDS,
    seconds: float = activity.SLICE_SECONDS,
    most: int = MAX_MESSAGES,
    cancelled: list[tuple[int, UUID]] | None = None,
) -> bool:
    """Count the next slice of a source; return whether there may be more to count now.

    A slice is `seconds` long, and has `most` messages at most. Rows that are younger than `lag` seconds wait,
    because an earlier one may still become visible. The cancelled deliveries of the slice are added to the list
    `cancelled`, each by partner and id.
    """
    async with _transaction(pool) as db:
        mark = await db.fetchrow(*_LOCK_MARK.bind(source=source, lag=lag, slice=seconds))
        if mark is None or mark["count_to"] <= mark["counted_to"]:
            return False
        count_to, count_id, is_part = mark["count_to"], mark["counted_id"], False
        if source is ActivitySource.MESSAGES:
            last = _FIND_LAST_MESSAGE.bind(counted_id=count_id, count_to=count_to, most=most)
            count_id, is_part = await db.fetchrow(*last)
        values = _range(source, mark, count_to, count_id)
        await db.execute(*_ADD[source].bind(**values))
        if cancelled is not None and source is ActivitySource.DELIVERIES:
            cancelled += await traces.list_cancelled(db, after=mark["counted_to"], until=count_to)
        moved_to = mark["counted_to"] if is_part else count_to
        await db.execute(*_MOVE_MARK.bind(source=source, count_to=moved_to, count_id=count_id))
        return is_part or (count_to - mark["counted_to"]).total_seconds() >= seconds


def _range(source: ActivitySource, mark: asyncpg.Record, count_to: datetime, count_id: int) -> dict[str, Any]:
    """Return the parameters that say what a step counts."""
    bounds = list(activity.LATENCY_BOUNDS_SECONDS)
    times = {"counted_to": mark["counted_to"], "count_to": count_to}
    match source:
        case ActivitySource.MESSAGES:
            ids = {"counted_id": mark["counted_id"], "count_id": count_id}
            limits = {"watched": list(WATCHED_NUMBERS), "max_delay": MAX_PROVIDER_SECONDS}
            return _GRAINS | ids | limits | {"bounds": bounds}
        case ActivitySource.DELIVERIES:
            return _GRAINS | times | {"bounds": bounds}
        case ActivitySource.ATTEMPTS:
            return {
                "first_id": min_uuid7(mark["counted_to"]),
                "end_id": min_uuid7(count_to),
                "partner_grain": activity.PARTNER_GRAIN_SECONDS,
                "bounds": bounds,
                "local_errors": list(LocalError),
            }
        case ActivitySource.EVENTS:
            return times | {
                "provider_grain": activity.PROVIDER_GRAIN_SECONDS,
                "refused_kind": UserEventKind.REAUTH_REQUIRED,
                "silent_kind": UserEventKind.STALLED,
            }


async def sample_idlers(db: Db, *, expiry: float) -> None:
    """Note the sessions of the idlers with a heartbeat of the last `expiry` seconds, once in each interval."""
    await db.execute(*_SAMPLE_IDLERS.bind(grain=activity.IDLER_GRAIN_SECONDS, expiry=expiry))


async def shrink(db: Db, *, limit: int = BATCH_ROWS) -> bool:
    """Add up rows that are old, and delete those that are too old; return whether there may be more of them."""
    changed = [
        *[await _coarsen(db, _COARSEN_PARTNERS, each, limit) for each in activity.PARTNER_COARSENINGS],
        *[await _coarsen(db, _COARSEN_PROVIDERS, each, limit) for each in activity.PROVIDER_COARSENINGS],
    ]
    days = {"days": activity.ACTIVITY_DAYS, "coarse": activity.DAY_SECONDS, "limit": limit}
    for given in (
        _DELETE_OLD_PARTNERS.bind(**days),
        _DELETE_OLD_PROVIDERS.bind(**days),
        _DELETE_OLD_IDLERS.bind(days=activity.IDLER_DAYS, limit=limit),
    ):
        changed.append(int((await db.execute(*given)).rpartition(" ")[2]))
    return max(changed) == limit


async def _coarsen(db: Db, statement: statements.Statement, each: Coarsening, limit: int) -> int:
    changed: int = await db.fetchval(
        *statement.bind(fine=each.fine, coarse=each.coarse, days=each.days, limit=limit)
    )
    return changed


@contextlib.asynccontextmanager
async def _transaction(db: Db) -> AsyncIterator[asyncpg.Connection]:
    if isinstance(db, asyncpg.Connection):
        async with db.transaction():
            yield db
    else:
        async with db.acquire() as connection, connection.transaction():
            yield connection
