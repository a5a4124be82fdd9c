"""Backlogs of partners: which there are, and their comparison with the quotas."""

from typing import TypeAlias

from asyncpg import Connection, Pool

from superimap.db import statements

_STATEMENTS = statements.load(__file__)
_LIST_PARTNERS = _STATEMENTS["list_partners"]
_MEASURE = _STATEMENTS["measure"]
_COUNT_AT_QUOTA = _STATEMENTS["count_at_quota"]

MEASURE_TIMEOUT_SECONDS = 300.0
"""A million rows on a cold disk take longer than other statements may."""

Db: TypeAlias = Connection | Pool


async def list_partners(db: Db) -> list[int]:
    """Return the partners that have a backlog, or had one when it was measured last."""
    return [row[0] for row in await db.fetch(*_LIST_PARTNERS.bind())]


async def measure(db: Db, partner_id: int, *, max_rows: int, max_bytes: int) -> None:
    """Measure the backlog of a partner; hold its mails back if a quota is reached, or no longer.

    The cost is bounded by the quota of rows. `max_rows` and `max_bytes` are the defaults. Raises TimeoutError.
    """
    bound = _MEASURE.bind(partner_id=partner_id, max_rows=max_rows, max_bytes=max_bytes)
    await db.execute(*bound, timeout=MEASURE_TIMEOUT_SECONDS)


async def count_at_quota(db: Db) -> dict[str, int]:
    """Return how many partners have used up each quota."""
    return {row[0]: row[1] for row in await db.fetch(*_COUNT_AT_QUOTA.bind())}
