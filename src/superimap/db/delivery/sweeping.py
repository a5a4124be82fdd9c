"""What is found again: leases that ended, endpoints with something due, rows that are old.

Raw statements on asyncpg, one per function, each its own transaction. All times are PostgreSQL's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from superimap.db.delivery.deliveries import Db

BATCH = 5_000


async def release_expired(db: Db) -> int:
    """Put deliveries back whose lease ran out: their dispatcher died, or lost its database. How many."""
    sql = """
        UPDATE deliveries SET state = 'pending', lease_until = NULL, lease_token = NULL, holder = NULL
        WHERE (id, partner_id) IN (
            SELECT id, partner_id FROM deliveries WHERE state = 'sending' AND lease_until < now()
            LIMIT $1 FOR UPDATE SKIP LOCKED
        )
    """
    return _count(await db.execute(sql, BATCH))


async def absent_holders(db: Db, *, space: int) -> list[int]:
    """The numbers of dispatchers that hold leases, and not the advisory lock (`space`, number) of the living."""
    sql = """
        SELECT holder FROM deliveries WHERE state = 'sending' AND holder IS NOT NULL
        GROUP BY holder
        EXCEPT
        SELECT objid::bigint::int FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND classid::bigint = $1 AND objsubid = 2
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
    return [row[0] for row in await db.fetch(sql, space)]


async def release_held(db: Db, holders: Iterable[int]) -> int:
    """Put deliveries back that these dispatchers hold: they are gone. How many."""
    sql = """
        UPDATE deliveries SET state = 'pending', lease_until = NULL, lease_token = NULL, holder = NULL
        WHERE (id, partner_id) IN (
            SELECT id, partner_id FROM deliveries WHERE state = 'sending' AND holder = ANY($1::int[])
            LIMIT $2 FOR UPDATE SKIP LOCKED
        )
    """
    return _count(await db.execute(sql, list(holders), BATCH))


@dataclass(frozen=True, slots=True)
class Overdue:
    """An endpoint with a delivery that may be sent and is `late` by so many seconds."""

    endpoint_id: int
    late: float
    is_to_ring: bool


async def overdue_endpoints(db: Db, *, per_partner: int, ailing: int) -> list[Overdue]:
    """Endpoints with a delivery that is due and may be sent, latest first.

    To be rung are, by chance, at most `per_partner` of one partner's, `ailing` of those that failed twice in a row
    or whose breaker is not closed, and as many of those that are well and have two POSTs under way: these may
    hang, and a retry must not wait for them. Where both is so, the next POST to end looks by itself.
    A skip scan: one probe of the index per endpoint, where DISTINCT would read every due row.
    """
    sql = """
        WITH RECURSIVE oldest AS (
            (SELECT endpoint_id, due_at FROM deliveries WHERE state = 'pending'
             ORDER BY endpoint_id, due_at LIMIT 1)
            UNION ALL
            SELECT n.endpoint_id, n.due_at FROM oldest o, LATERAL (
                SELECT endpoint_id, due_at FROM deliveries
                WHERE state = 'pending' AND endpoint_id > o.endpoint_id
                ORDER BY endpoint_id, due_at LIMIT 1
            ) n
        ), found AS (
            SELECT o.endpoint_id, e.partner_id, extract(epoch FROM now() - o.due_at)::float8 AS late,
                e.failures > 1 OR e.breaker <> 'closed' AS is_ailing,
                (SELECT count(*) FROM (
                    SELECT FROM deliveries s WHERE s.endpoint_id = o.endpoint_id AND s.state = 'sending' LIMIT 2
                ) under_way) > 1 AS is_busy
            FROM oldest o JOIN endpoints e ON e.id = o.endpoint_id
            WHERE o.due_at <= now()
                AND (e.url IS NULL OR e.disabled_at IS NULL AND (e.probe_at IS NULL OR e.probe_at <= now()))
        ), drawn AS (
            SELECT *, row_number() OVER (PARTITION BY partner_id, is_busy ORDER BY random()) AS place,
                row_number() OVER (PARTITION BY is_ailing, is_busy ORDER BY random()) AS lot
            FROM found
        )
        SELECT endpoint_id, late, place <= $1 AND (lot <= $2 OR NOT (is_ailing OR is_busy))
            AND NOT (is_ailing AND is_busy) FROM drawn
        ORDER BY late DESC, endpoint_id
    """
    return [Overdue(*row) for row in await db.fetch(sql, per_partner, ailing)]


async def fail_disabled(db: Db, *, days: float, limit: int = BATCH) -> int:
    """Let what waits for an endpoint that has been disabled for so long fail. How many."""
    sql = """
        UPDATE deliveries SET state = 'failed', settled_at = now(), last_error = 'endpoint_disabled'
        WHERE (id, partner_id) IN (
            SELECT d.id, d.partner_id FROM endpoints e JOIN deliveries d ON d.endpoint_id = e.id
            WHERE e.disabled_at < now() - make_interval(secs => $1 * 86400) AND d.state = 'pending'
            LIMIT $2 FOR UPDATE OF d SKIP LOCKED
        )
    """
    return _count(await db.execute(sql, days, limit))


async def erase_old_content(db: Db, *, days: float, limit: int = BATCH) -> int:
    """Erase the content of deliveries that failed or were cancelled so long ago. How many."""
    sql = """
        UPDATE deliveries SET content = NULL WHERE (id, partner_id) IN (
            SELECT id, partner_id FROM deliveries
            WHERE settled_at < now() - make_interval(secs => $1 * 86400)
                AND state IN ('failed', 'cancelled') AND content IS NOT NULL
            LIMIT $2 FOR UPDATE SKIP LOCKED
        )
    """
    return _count(await db.execute(sql, days, limit))


async def delete_old_deliveries(db: Db, *, days: float, limit: int = BATCH) -> int:
    """Delete deliveries settled so long ago, with their attempts. How many."""
    sql = """
        DELETE FROM deliveries WHERE (id, partner_id) IN (
            SELECT id, partner_id FROM deliveries WHERE settled_at < now() - make_interval(secs => $1 * 86400)
            LIMIT $2 FOR UPDATE SKIP LOCKED
        )
    """
    return _count(await db.execute(sql, days, limit))


async def delete_old_messages(db: Db, *, days: float, limit: int = BATCH) -> int:
    """Delete messages seen so long ago, unless a delivery of theirs is still owed. How many."""
    sql = """
        DELETE FROM messages WHERE (id, partner_id) IN (
            SELECT m.id, m.partner_id FROM messages m
            WHERE m.created_at < now() - make_interval(secs => $1 * 86400) AND NOT EXISTS (
                SELECT FROM deliveries d WHERE d.message_id = m.id AND d.state IN ('pending', 'sending')
            )
            LIMIT $2 FOR UPDATE SKIP LOCKED
        )
    """
    return _count(await db.execute(sql, days, limit))


def _count(tag: str) -> int:
    """The number at the end of a command tag such as `UPDATE 3`."""
    return int(tag.rpartition(" ")[2])
