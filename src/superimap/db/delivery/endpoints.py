"""How is an endpoint doing? Its health, read and written under a lock; whose it is.

Raw statements on asyncpg, one per function. All times are PostgreSQL's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from datetime import datetime

from asyncpg import Connection, Pool

from superimap.domain.deliveries import EndpointHealth

COLUMNS = tuple(field.name for field in fields(EndpointHealth))


async def partner_of(pool: Pool, endpoint_id: int) -> int | None:
    """Whose endpoint this is, for ever; None if it is gone."""
    sql = "SELECT partner_id FROM endpoints WHERE id = $1"
    found: int | None = await pool.fetchval(sql, endpoint_id)
    return found


async def lock_healths(db: Connection, ids: Iterable[int]) -> tuple[datetime, dict[int, EndpointHealth]]:
    """The time, and the health of endpoints, closed to other changes until the transaction ends.

    Those that somebody else has locked are left out, as are those that are gone: nobody is waited for.
    """
    sql = f"""
        SELECT clock_timestamp(), id, {", ".join(COLUMNS)} FROM endpoints WHERE id = ANY($1::bigint[])
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
    """  # noqa: S608 - our own names
    rows = await db.fetch(sql, list(ids))
    found = {row[1]: EndpointHealth(*row[2:]) for row in map(tuple, rows)}
    return (rows[0][0] if rows else datetime.min), found


async def existing(db: Connection, ids: Collection[int]) -> list[int]:
    """Those that exist, locked or not."""
    if not ids:
        return []
    return [
        row[0] for row in await db.fetch("SELECT id FROM endpoints WHERE id = ANY($1::bigint[])", list(ids))
    ]


async def set_healths(db: Connection, healths: Mapping[int, EndpointHealth]) -> None:
    """Write the health of endpoints that `lock_healths` locked."""
    sql = """
        UPDATE endpoints e SET failures = g.failures, failing_since = g.failing_since, breaker = g.breaker,
            width = g.width, setbacks = g.setbacks, probe_at = g.probe_at, disabled_at = g.disabled_at,
            disabled_reason = g.disabled_reason
        FROM unnest($1::bigint[], $2::int[], $3::timestamptz[], $4::text[], $5::int[], $6::int[],
            $7::timestamptz[], $8::timestamptz[], $9::text[])
            AS g(id, failures, failing_since, breaker, width, setbacks, probe_at, disabled_at, disabled_reason)
        WHERE e.id = g.id
    """
    columns = [[getattr(health, name) for health in healths.values()] for name in COLUMNS]
    await db.execute(sql, list(healths), *columns)
