"""CPU time of PostgreSQL for the rounds, heartbeats and looks of one idler, in clusters of two sizes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import asyncpg

from benchmarks.processes import cpu_seconds
from fixtures.engines import empty_database
from superimap.core.config import Settings
from superimap.db import postgres
from superimap.db.presence import IDLER_LOCK_SPACE
from superimap.db.watching import ownership, presence
from superimap.domain.shards import SHARD_COUNT
from superimap.idler.presence import FEW_IDLERS, PresenceTiming

SIZES = (100, 1000)
"""Idlers of the two clusters."""
REPEATED_STATEMENTS = 200
CAPACITY_SESSIONS = 15_000
EXPIRY_SECONDS = 1e6

_FILL = """
WITH joined AS (
    INSERT INTO idlers (name, version, capacity, presence, presence_server, users, shards)
    SELECT 'bench', '0', $1, n, pg_postmaster_start_time(), 0, $2::int / $3::int FROM generate_series(1, $3::int) n
    RETURNING id
),
numbered AS (SELECT id, row_number() OVER () - 1 AS place FROM joined)
UPDATE shards SET owner = id, epoch = epoch + 1 FROM numbered WHERE shard % $3::int = place
"""


async def measure() -> dict[str, float]:
    """Return the CPU time per second for one idler that is alone, and for each further idler of its cluster."""
    few, many = [await _milliseconds_per_second(idlers) for idlers in SIZES]
    slope = max(0.0, many - few) / (SIZES[1] - SIZES[0])
    return {
        "idler_postgres_cpu_ms_per_s": max(0.0, few - slope * SIZES[0]),
        "idler_postgres_cpu_us_per_s_per_idler": 1000 * slope,
    }


async def _milliseconds_per_second(idlers: int) -> float:
    """Return the CPU milliseconds a second of the routine statements of one idler in a settled cluster."""
    interval: float = Settings.model_fields["heartbeat_interval"].default
    round_interval: float = Settings.model_fields["reconcile_interval"].default
    async with empty_database(None) as url, postgres.pool(url, size=1) as pool:
        await pool.execute(_FILL, CAPACITY_SESSIONS, SHARD_COUNT, idlers)
        await pool.execute("VACUUM ANALYZE")
        ids = [row[0] for row in await pool.fetch("SELECT id FROM idlers ORDER BY id")]
        holder = await asyncpg.connect(url)  # holds the locks of all idlers: each is found to be present
        await holder.execute("SELECT pg_advisory_lock($1, presence) FROM idlers", IDLER_LOCK_SPACE)
        async with pool.acquire() as db:
            round_ms = await _cpu_ms(db, ids, lambda idler: _round(db, idler))
            beat_ms = await _cpu_ms(db, ids, lambda idler: _beat(db, idler))
            look_ms = await _cpu_ms(db, ids, lambda idler: presence.look_at_next(db, idler, limit=FEW_IDLERS))
        await holder.close()
    return round_ms / round_interval + beat_ms / interval + look_ms / PresenceTiming().check


async def _round(db: asyncpg.Connection, idler: int) -> object:
    owned = await db.fetch("SELECT shard FROM shards WHERE owner = $1", idler)
    return await ownership.read_cluster(db, idler, expiry=EXPIRY_SECONDS, known={row[0]: 0 for row in owned})


async def _beat(db: asyncpg.Connection, idler: int) -> object:
    return await ownership.renew_lease(
        db, idler, beat=1, sessions=0, users=0, shards=0, is_stopping=False, forget_after=EXPIRY_SECONDS
    )


async def _cpu_ms(
    db: asyncpg.Connection, ids: list[int], statement: Callable[[int], Awaitable[object]]
) -> float:
    """Return the CPU milliseconds of the connection's process for one statement, on average."""
    pid = await db.fetchval("SELECT pg_backend_pid()")
    before = cpu_seconds(pid)
    for number in range(REPEATED_STATEMENTS):
        await statement(ids[number * 7 % len(ids)])
    return (cpu_seconds(pid) - before) * 1000 / REPEATED_STATEMENTS
