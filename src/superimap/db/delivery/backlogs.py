"""Backlogs of partners and their comparison with the quotas, dead letters, and endpoints in trouble."""

from typing import TypeAlias

from asyncpg import Connection, Pool

from superimap.db import statements
from superimap.domain.tracers import SINK_URL

_STATEMENTS = statements.load(__file__)
_LIST_PARTNERS = _STATEMENTS["list_partners"]
_MEASURE = _STATEMENTS["measure"]
_COUNT_AT_QUOTA = _STATEMENTS["count_at_quota"]
_COUNT_DEAD_LETTERS = _STATEMENTS["count_dead_letters"]
_COUNT_TRACER_MAILBOXES = _STATEMENTS["count_tracer_mailboxes"]
_COUNT_TROUBLED_ENDPOINTS = _STATEMENTS["count_troubled_endpoints"]

MEASURE_TIMEOUT_SECONDS = 300.0
"""A million rows on a cold disk take longer than other statements may."""
MAX_DEAD_LETTERS = 10_000
"""Dead letters of a partner that are counted; beyond that the number changes nothing for an operator."""

MAX_TRACER_MAILBOXES = 1000

Db: TypeAlias = Connection | Pool


async def list_partners(db: Db) -> list[int]:
    """Return the partners that have a backlog, or had one when it was measured last."""
    return [row[0] for row in await db.fetch(*_LIST_PARTNERS.bind())]


async def measure(db: Db, partner_id: int, *, max_rows: int, max_bytes: int) -> int:
    """Measure a backlog, and return its rows; hold the partner's mails back if a quota is reached, or no longer.

    At most the quota of rows is counted for each endpoint. `max_rows` and `max_bytes` are the defaults. Raises
    TimeoutError.
    """
    bound = _MEASURE.bind(partner_id=partner_id, max_rows=max_rows, max_bytes=max_bytes)
    rows: int = await db.fetchval(*bound, timeout=MEASURE_TIMEOUT_SECONDS)
    return rows


async def count_at_quota(db: Db) -> dict[str, int]:
    """Return how many partners have used up each quota."""
    return {row[0]: row[1] for row in await db.fetch(*_COUNT_AT_QUOTA.bind())}


async def count_dead_letters(db: Db) -> int:
    """Return how many deliveries have failed and were not replayed; of each partner MAX_DEAD_LETTERS at most."""
    found: int = await db.fetchval(*_COUNT_DEAD_LETTERS.bind(most=MAX_DEAD_LETTERS))
    return found


async def count_tracer_mailboxes(db: Db) -> int:
    """Return how many mailboxes tracers can be sent to; MAX_TRACER_MAILBOXES at most."""
    bound = _COUNT_TRACER_MAILBOXES.bind(sink_url=SINK_URL, most=MAX_TRACER_MAILBOXES)
    found: int = await db.fetchval(*bound)
    return found


async def count_troubled_endpoints(db: Db) -> dict[str, int]:
    """Return the number of endpoints by state: of the circuit breaker, if it is not closed, or `disabled`."""
    return {row[0]: row[1] for row in await db.fetch(*_COUNT_TROUBLED_ENDPOINTS.bind())}
