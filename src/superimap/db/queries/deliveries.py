"""How is a delivery claimed and settled, and found again when its lease ran out?

Raw statements on asyncpg, one per function, each its own transaction. All times are PostgreSQL's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

from asyncpg import Connection, Pool, Record

Db: TypeAlias = Pool | Connection

BATCH = 5_000


class Outcome(StrEnum):
    """What becomes of a delivery after an attempt; ARCHIVE is a failure that archives the user."""

    DELIVERED = "delivered"
    RETRY = "retry"
    FAILED = "failed"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that is ours to send until its lease ends; `attempt` is the number of this attempt."""

    id: UUID
    partner_id: int
    endpoint_id: int
    user_id: int
    kind: str
    url: str
    content: bytes | None
    attempt: int
    token: UUID


@dataclass(frozen=True, slots=True)
class Claims:
    """What one claim gave. `is_all`: nothing more was due. `has_room`: another claim now could give more."""

    taken: Sequence[Claim]
    is_all: bool
    has_room: bool


@dataclass(frozen=True, slots=True)
class Settlement:
    """One attempt and what it means. `age` is how many seconds ago it began, `delay` how long until the next.

    `body` is sealed for the attempt's row, whose `id` is made by whoever sent it.
    """

    id: UUID
    claim: Claim
    outcome: Outcome
    age: float
    milliseconds: int
    code: int | None = None
    error: str | None = None
    body: bytes | None = None
    delay: float = 0.0


# A blank URL sends nothing: what is due there is cancelled, many at a time. Two processes that claim for one
# endpoint within the same millisecond do not see each other's rows in `sending` and may exceed `cap` together,
# once, by what one of them took; to close that would cost a lock per claim.
_CLAIM = """
    WITH target AS (
        SELECT e.url, CASE WHEN e.url IS NULL THEN 1000 ELSE greatest(0, least($2, $3 - (
            SELECT count(*) FROM deliveries s
            WHERE s.endpoint_id = e.id AND s.state = 'sending' AND s.lease_until > now()
        ))) END AS room
        FROM endpoints e WHERE e.id = $1
    ), due AS (
        SELECT d.id, d.partner_id FROM deliveries d
        WHERE d.endpoint_id = $1 AND d.state = 'pending' AND d.due_at <= now()
        ORDER BY d.due_at LIMIT (SELECT room FROM target)
        FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE deliveries d SET
            state = CASE WHEN t.url IS NULL THEN 'cancelled' ELSE 'sending' END,
            lease_until = CASE WHEN t.url IS NULL THEN NULL ELSE now() + make_interval(secs => $4) END,
            lease_token = CASE WHEN t.url IS NULL THEN NULL ELSE $5::uuid END,
            settled_at = CASE WHEN t.url IS NULL THEN now() END,
            last_error = CASE WHEN t.url IS NULL THEN 'no_url' ELSE d.last_error END
        FROM due, target t
        WHERE d.id = due.id AND d.partner_id = due.partner_id
        RETURNING d.id, d.partner_id, d.user_id, d.kind, d.attempts, d.due_at,
            CASE WHEN t.url IS NULL THEN NULL ELSE d.content END AS content
    )
    SELECT t.room, t.url, c.* FROM target t LEFT JOIN claimed c ON true ORDER BY c.due_at
"""


async def claim(db: Db, endpoint_id: int, *, limit: int, cap: int, lease: float, token: UUID) -> Claims:
    """Take due deliveries of an endpoint for `lease` seconds, oldest first: at most `limit`, and no more than
    bring those under way to it, over all processes, to `cap`.

    Due deliveries of an endpoint without a URL are cancelled instead.
    """
    rows = await db.fetch(_CLAIM, endpoint_id, limit, cap, lease, token)
    if not rows:  # the endpoint is gone, and its deliveries with it
        return Claims((), is_all=True, has_room=True)
    room, url = rows[0]["room"], rows[0]["url"]
    found = [row for row in rows if row["id"] is not None]
    is_all = len(found) < room
    if url is None:
        return Claims((), is_all=is_all, has_room=True)
    return Claims([_claim(row, endpoint_id, token) for row in found], is_all=is_all, has_room=is_all)


def _claim(row: Record, endpoint_id: int, token: UUID) -> Claim:
    return Claim(
        id=row["id"],
        partner_id=row["partner_id"],
        endpoint_id=endpoint_id,
        user_id=row["user_id"],
        kind=row["kind"],
        url=row["url"],
        content=row["content"],
        attempt=row["attempts"] + 1,
        token=token,
    )


# A success counts whatever the token: the receiver has it. A failure counts only while the lease is ours, or it
# would put a delivery back that another process is sending. The attempt is recorded either way.
_SETTLE = """
    WITH given AS (
        SELECT * FROM unnest(
            $1::uuid[], $2::bigint[], $3::uuid[], $4::int[], $5::text[], $6::float8[], $7::int[],
            $8::int[], $9::text[], $10::bytea[], $11::float8[], $12::uuid[]
        ) AS g(id, partner_id, token, number, outcome, age, milliseconds, code, error, body, delay, attempt)
    ), settled AS (
        UPDATE deliveries d SET
            state = CASE g.outcome WHEN 'delivered' THEN 'delivered' WHEN 'retry' THEN 'pending' ELSE 'failed' END,
            attempts = greatest(d.attempts, g.number),
            content = CASE g.outcome WHEN 'delivered' THEN NULL ELSE d.content END,
            due_at = CASE g.outcome WHEN 'retry' THEN now() + make_interval(secs => g.delay) ELSE d.due_at END,
            settled_at = CASE g.outcome WHEN 'retry' THEN NULL ELSE now() END,
            lease_until = NULL, lease_token = NULL, last_code = g.code, last_error = g.error
        FROM given g
        WHERE d.id = g.id AND d.partner_id = g.partner_id
            AND CASE g.outcome WHEN 'delivered' THEN d.state <> 'delivered'
                ELSE d.state = 'sending' AND d.lease_token = g.token END
        RETURNING d.user_id, g.outcome
    ), recorded AS (
        INSERT INTO attempts
            (id, partner_id, delivery_id, number, started_at, milliseconds, code, error, body)
        SELECT g.attempt, g.partner_id, g.id, g.number, now() - make_interval(secs => g.age), g.milliseconds,
            g.code, g.error, g.body
        FROM given g JOIN deliveries d ON d.id = g.id AND d.partner_id = g.partner_id
        ON CONFLICT (id) DO NOTHING
    ), archived AS (
        UPDATE users u SET archived = true, status = 'archived', status_since = now(),
            status_reason = 'the application answered 403'
        WHERE u.id IN (SELECT s.user_id FROM settled s WHERE s.outcome = 'archive')
            AND NOT u.enable_tracer AND NOT u.archived
        RETURNING u.shard
    )
    SELECT pg_notify('superimap_users', shard::text) FROM archived
"""


async def settle(db: Db, settlements: Iterable[Settlement]) -> int:
    """Record attempts and what they mean for their deliveries; returns how many users a 403 archived.

    Delivered content is erased. Pending deliveries of an archived user stay: each gets its own answer.
    """
    columns = zip(*map(_columns, settlements), strict=True)
    return len(await db.fetch(_SETTLE, *map(list, columns)))


def _columns(given: Settlement) -> tuple[object, ...]:
    claim = given.claim
    return (
        claim.id,
        claim.partner_id,
        claim.token,
        claim.attempt,
        given.outcome.value,
        given.age,
        given.milliseconds,
        given.code,
        given.error,
        given.body,
        given.delay,
        given.id,
    )


async def release_expired(db: Db) -> int:
    """Put deliveries back whose lease ran out: their dispatcher died, or lost its database. How many."""
    sql = """
        UPDATE deliveries SET state = 'pending', lease_until = NULL, lease_token = NULL
        WHERE (id, partner_id) IN (
            SELECT id, partner_id FROM deliveries WHERE state = 'sending' AND lease_until < now()
            LIMIT $1 FOR UPDATE SKIP LOCKED
        )
    """
    return _count(await db.execute(sql, BATCH))


async def overdue_endpoints(db: Db) -> list[tuple[int, float]]:
    """Each endpoint with a delivery that is due, and by how many seconds the oldest one is late.

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
        )
        SELECT endpoint_id, extract(epoch FROM now() - due_at)::float8 FROM oldest WHERE due_at <= now()
    """
    return [(row[0], row[1]) for row in await db.fetch(sql)]


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
