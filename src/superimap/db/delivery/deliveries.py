"""How is a delivery claimed, and how settled?

Raw statements on asyncpg, one per function, each its own transaction. All times are PostgreSQL's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias
from uuid import UUID

from asyncpg import Connection, Pool, Record

from superimap.db.watching.events import telling
from superimap.domain.deliveries import AttemptOutcome
from superimap.domain.events import ReasonCode

Db: TypeAlias = Pool | Connection


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that is ours to send until its lease ends; `attempt` is the number of this attempt.

    The schedule counts from the last replay on: `attempts_before` came before it. Where `event_id` is set there is
    no content: it is made of that event. `is_well` and `setbacks` are of
    the endpoint, as they were at the claim.
    """

    id: UUID
    partner_id: int
    endpoint_id: int
    user_id: int
    kind: str
    url: str
    content: bytes | None
    attempt: int
    token: UUID
    attempts_before: int = 0
    event_id: int | None = None
    is_well: bool = True
    setbacks: int = 0


@dataclass(frozen=True, slots=True)
class Claims:
    """What one claim gave. `is_all`: nothing more was due. `has_room`: another claim now could give more.

    `is_well`: the endpoint's last answer was a good one, and its breaker is closed. `is_held_back`: it is ailing,
    and those were not asked for.
    """

    taken: Sequence[Claim]
    is_all: bool
    has_room: bool
    is_well: bool = True
    is_held_back: bool = False


@dataclass(frozen=True, slots=True)
class Settlement:
    """One attempt and what it means. `age` is how many seconds ago it began, `delay` how long until the next.

    `body` is sealed for the attempt's row, whose `id` is made by whoever sent it.
    """

    id: UUID
    claim: Claim
    outcome: AttemptOutcome
    age: float
    milliseconds: int
    code: int | None = None
    error: str | None = None
    body: bytes | None = None
    delay: float = 0.0


AT_ONCE = 65_536
"""Bytes of content that come with a claim, for all that it takes; more is fetched when the claim is committed."""

# A blank URL sends nothing: what is due there is cancelled, many at a time. An open breaker lets one probe pass:
# moving `probe_at` past its lease is what reserves it, and of two claims at once the second finds it moved. Of two
# claims for a closed one, the second waits in `under_way` for the first, and counts what it took (migration 0013).
# Nothing is committed before the client has read all but the last of the answer, and one that stands still reads
# nothing: so the answer is small enough to lie in the sockets on the way, or others would wait for the lock.
_CLAIM = """
    WITH target AS (
        SELECT e.id, e.url, e.setbacks, e.failures = 0 AND e.breaker = 'closed' AS is_well,
            e.url IS NOT NULL AND e.breaker = 'open' AS is_open,
            CASE WHEN e.url IS NULL THEN 1000
            WHEN e.disabled_at IS NOT NULL OR e.probe_at > now() THEN 0
            WHEN NOT $7 AND (e.failures > 1 OR e.breaker <> 'closed') THEN -1
            ELSE greatest(0, least($2,
                CASE e.breaker WHEN 'open' THEN 1 ELSE least($3, e.width) END - under_way(e.id)
            )) END AS room
        FROM endpoints e WHERE e.id = $1
    ), probe AS (
        UPDATE endpoints e SET probe_at = now() + make_interval(secs => $4) FROM target t
        WHERE e.id = t.id AND t.is_open AND t.room > 0 AND (e.probe_at IS NULL OR e.probe_at <= now())
            AND e.breaker = 'open' AND EXISTS (
                SELECT FROM deliveries d
                WHERE d.endpoint_id = $1 AND d.state = 'pending' AND d.due_at <= now())
        RETURNING e.id
    ), due AS (
        SELECT d.id, d.partner_id FROM deliveries d
        WHERE d.endpoint_id = $1 AND d.state = 'pending' AND d.due_at <= now()
        ORDER BY d.due_at
        LIMIT (SELECT CASE WHEN t.is_open THEN (SELECT count(*) FROM probe) ELSE greatest(t.room, 0) END
            FROM target t)
        FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE deliveries d SET
            state = CASE WHEN t.url IS NULL THEN 'cancelled' ELSE 'sending' END,
            lease_until = CASE WHEN t.url IS NULL THEN NULL ELSE now() + make_interval(secs => $4) END,
            lease_token = CASE WHEN t.url IS NULL THEN NULL ELSE $5::uuid END,
            holder = CASE WHEN t.url IS NULL THEN NULL ELSE $6::int END,
            settled_at = CASE WHEN t.url IS NULL THEN now() END,
            last_error = CASE WHEN t.url IS NULL THEN 'no_url' ELSE d.last_error END
        FROM due, target t
        WHERE d.id = due.id AND d.partner_id = due.partner_id
        RETURNING d.id, d.partner_id, d.user_id, d.kind, d.attempts, d.attempts_before, d.due_at, d.event_id,
            CASE WHEN t.url IS NULL THEN NULL ELSE d.content END AS content
    )
    SELECT t.room, t.url, t.is_well, t.setbacks, c.id, c.partner_id, c.user_id, c.kind, c.attempts,
        c.attempts_before, c.event_id, m.is_much, CASE WHEN NOT m.is_much THEN c.content END AS content
    FROM target t LEFT JOIN claimed c ON true, (SELECT sum(octet_length(content)) > $8 FROM claimed) m(is_much)
    ORDER BY c.due_at
"""
_CONTENTS = "SELECT id, content FROM deliveries WHERE id = ANY($1::uuid[]) AND lease_token = $2"


async def claim(
    db: Db,
    endpoint_id: int,
    *,
    limit: int,
    cap: int,
    lease: float,
    token: UUID,
    holder: int | None = None,
    also_ailing: bool = True,
) -> Claims:
    """Take due deliveries of an endpoint for `lease` seconds, oldest first: at most `limit`, and no more than
    bring those under way to it, over all processes, to `cap`, or to what its breaker lets pass.

    Due deliveries of an endpoint without a URL are cancelled instead. `holder` is the number of the
    dispatcher that claims. Without `also_ailing` nothing is taken of an endpoint that failed twice in a row, or
    whose breaker is not closed.
    """
    rows = await db.fetch(_CLAIM, endpoint_id, limit, cap, lease, token, holder, also_ailing, AT_ONCE)
    if not rows:  # the endpoint is gone, and its deliveries with it
        return Claims((), is_all=True, has_room=True)
    room, url, is_well = rows[0]["room"], rows[0]["url"], rows[0]["is_well"]
    if room < 0:
        return Claims((), is_all=False, has_room=False, is_well=False, is_held_back=True)
    found = [row for row in rows if row["id"] is not None]
    is_all = len(found) < room
    if url is None:
        return Claims((), is_all=is_all, has_room=True)
    taken = [_claim(row, endpoint_id, token) for row in found]
    if found and found[0]["is_much"]:
        contents = dict(await db.fetch(_CONTENTS, [each.id for each in taken], token))
        # What is not there any more was replaced or erased meanwhile: its lease is not ours either.
        taken = [replace(each, content=contents[each.id]) for each in taken if each.id in contents]
    return Claims(taken, is_all=is_all, has_room=is_all, is_well=is_well)


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
        attempts_before=row["attempts_before"],
        event_id=row["event_id"],
        is_well=row["is_well"],
        setbacks=row["setbacks"],
    )


# A success counts whatever the token: the receiver has it. A failure counts only while the lease is ours, or it
# would put a delivery back that another process is sending. The attempt is recorded either way.
_SETTLED = """
    WITH given AS (
        SELECT * FROM unnest(
            $1::uuid[], $2::bigint[], $3::uuid[], $4::int[], $5::text[], $6::float8[], $7::int[],
            $8::int[], $9::text[], $10::bytea[], $11::float8[], $12::uuid[]
        ) AS g(id, partner_id, token, number, outcome, age, milliseconds, code, error, body, delay, attempt)
    ), settled AS (
        UPDATE deliveries d SET
            state = CASE g.outcome WHEN 'delivered' THEN 'delivered' WHEN 'retry' THEN 'pending' ELSE 'failed' END,
            attempts = greatest(d.attempts, g.number),
            content = CASE WHEN g.outcome = 'retry' OR g.outcome <> 'delivered' AND $13 THEN d.content END,
            due_at = CASE g.outcome WHEN 'retry' THEN now() + make_interval(secs => g.delay) ELSE d.due_at END,
            settled_at = CASE g.outcome WHEN 'retry' THEN NULL ELSE now() END,
            lease_until = NULL, lease_token = NULL, holder = NULL, last_code = g.code, last_error = g.error
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
    )
"""
_SETTLE = f"{_SETTLED} SELECT FROM settled WHERE false"
# What a 403 has to write besides costs a twentieth of the statement, also where there is nothing of it.
_ARCHIVE = f"""{_SETTLED}, archived AS (
        UPDATE users u SET archived = true, status = 'archived', status_since = now(),
            status_reason = 'the application answered 403'
        WHERE u.id IN (SELECT s.user_id FROM settled s WHERE s.outcome = 'archive')
            AND NOT u.enable_tracer AND NOT u.archived
        RETURNING u.id, u.partner_id, u.shard, u.status_reason
    ), happened AS (
        SELECT partner_id, id AS user_id, 'archived' AS kind, '{ReasonCode.APPLICATION_REFUSED}' AS code,
            status_reason AS reason
        FROM archived
    ), {telling("happened")}
    SELECT pg_notify('superimap_users', shard::text) FROM archived
"""  # noqa: S608 - words of ours


async def settle(db: Db, settlements: Iterable[Settlement], *, keep_failed: bool = True) -> int:
    """Record attempts and what they mean for their deliveries; returns how many users a 403 archived.

    Delivered content is erased, and without `keep_failed` also that of failures. Pending deliveries of an
    archived user stay: each gets its own answer.
    """
    given = list(settlements)
    if not given:
        return 0
    columns = zip(*map(_columns, given), strict=True)
    sql = _ARCHIVE if any(each.outcome is AttemptOutcome.ARCHIVE for each in given) else _SETTLE
    return len(await db.fetch(sql, *map(list, columns), keep_failed))


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
