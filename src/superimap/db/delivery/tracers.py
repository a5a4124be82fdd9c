"""Tracers, for dispatchers: the moments of a long one's webhook, and the purge of old ones."""

from __future__ import annotations

import time

from superimap.db import statements
from superimap.db.delivery.deliveries import Db, Settlement

BATCH_ROWS = 5000

_STATEMENTS = statements.load(__file__)
_RECORD_DELIVERY = _STATEMENTS["record_delivery"]
_DELETE_OLD = _STATEMENTS["delete_old_tracers"]
_DELETE_OLD_DAYS = _STATEMENTS["delete_old_days"]


async def record_delivery(db: Db, settlement: Settlement, *, ended: float) -> None:
    """Record when a tracer's webhook was claimed, posted and acknowledged.

    `ended` is the monotonic time at which the attempt was handed over to be recorded.
    """
    claim, now = settlement.claim, time.monotonic()
    posted_ago = now - ended + settlement.age
    await db.execute(
        *_RECORD_DELIVERY.bind(
            delivery=claim.id,
            partner_id=claim.partner_id,
            claimed_ago=max(now - claim.claimed_at, posted_ago),
            posted_ago=posted_ago,
            acknowledged_ago=max(0.0, posted_ago - settlement.milliseconds / 1000),
        )
    )


async def delete_old(db: Db, *, days: float, limit: int = BATCH_ROWS) -> int:
    """Delete tracers older than `days`, one batch; return how many."""
    return _count(await db.execute(*_DELETE_OLD.bind(days=days, limit=limit)))


async def delete_old_days(db: Db, *, days: float, limit: int = BATCH_ROWS) -> int:
    """Delete counts of days that are older than `days`, one batch; return how many."""
    return _count(await db.execute(*_DELETE_OLD_DAYS.bind(days=days, limit=limit)))


def _count(tag: str) -> int:
    """Return the number at the end of a command tag such as `DELETE 3`."""
    return int(tag.rpartition(" ")[2])
