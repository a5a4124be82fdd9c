"""Who watches what: heartbeats and the ownership of shards, by PostgreSQL's clock."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from asyncpg import Pool

from superimap.domain.shards import EVERY_IDLER, SHARDS_CHANNEL


@dataclass(frozen=True, slots=True)
class Member:
    """An idler whose heartbeat is fresh. `users` and `shards` are its load, with what it was promised since."""

    id: int
    capacity: int
    users: int
    shards: int
    is_stopping: bool


@dataclass(frozen=True, slots=True)
class Roll:
    """Who should be watched in some shards: user id to version of the credentials, by shard.

    `digests` says the same in a number for each of the shards, by which a change is found without reading them.
    """

    digests: dict[int, int] = field(default_factory=dict)
    users: dict[int, dict[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClusterView:
    """One look at the cluster.

    Who lives, what is mine (shard to epoch), what has no owner, what is a silent idler's, and whoever changed
    among my users. `next_expiry`: seconds until another's lease ends unless it is renewed.
    """

    members: tuple[Member, ...]
    mine: dict[int, int]
    free: frozenset[int]
    expired: frozenset[int]
    next_expiry: float
    roll: Roll


async def join(pool: Pool, *, name: str, version: str, capacity: int, health_port: int | None) -> int:
    """Enter the cluster, and tell the others; the id of the new idler."""
    sql = """
        WITH joined AS (
            INSERT INTO idlers (name, version, capacity, health_port) VALUES ($1, $2, $3, $4) RETURNING id
        )
        SELECT id, pg_notify($5, $6) FROM joined
    """
    return int(await pool.fetchval(sql, name, version, capacity, health_port, SHARDS_CHANNEL, EVERY_IDLER))


async def beat(
    pool: Pool, idler: int, *, sessions: int, users: int, shards: int, is_stopping: bool, forget_after: float
) -> bool:
    """Renew the lease on everything this idler owns, and tell its load; False if it was struck off meanwhile.

    Idlers silent for `forget_after` seconds are struck off.
    """
    sql = """
        WITH gone AS (
            DELETE FROM idlers WHERE id <> $1 AND heartbeat_at < now() - make_interval(secs => $6)
        )
        UPDATE idlers SET heartbeat_at = now(), sessions = $2, users = $3, shards = $4, is_stopping = $5,
                          is_full = $3 >= capacity
        WHERE id = $1 RETURNING true
    """
    return bool(await pool.fetchval(sql, idler, sessions, users, shards, is_stopping, forget_after))


# The users of shards whose digest is not the one that is known; $3 and $4 are what is known. XOR needs no order,
# and each user's share of it hangs on its id and version, so that any change changes the digest.
_ROLL = """
    digests AS MATERIALIZED (
        SELECT m.shard, d.digest FROM mine m CROSS JOIN LATERAL (
            SELECT coalesce(bit_xor(hashint8extended(u.id, u.credentials_version)), 0) AS digest FROM users u
            WHERE u.shard = m.shard AND NOT u.archived AND u.connected_at IS NOT NULL
        ) d
    ), changed AS (
        SELECT d.shard, d.digest
        FROM digests d LEFT JOIN unnest($3::smallint[], $4::bigint[]) known(shard, digest) USING (shard)
        WHERE known.digest IS DISTINCT FROM d.digest
    ), people AS (
        SELECT array_agg(u.shard::int) AS shards, array_agg(u.id) AS ids,
               array_agg(u.credentials_version) AS versions
        FROM changed c JOIN users u USING (shard) WHERE NOT u.archived AND u.connected_at IS NOT NULL
    )
"""
_CHANGED = """
    ARRAY(SELECT shard::int FROM changed ORDER BY shard), ARRAY(SELECT digest FROM changed ORDER BY shard),
    people.shards, people.ids, people.versions
"""


async def look(pool: Pool, idler: int, *, expiry: float, known: Mapping[int, int]) -> ClusterView:
    """The cluster as this idler must see it, in one statement; `expiry` in seconds.

    `known` is the digest of each shard whose users are known; only those of other shards, or changed, are read.
    """
    sql = f"""
        WITH living AS MATERIALIZED (
            SELECT id, capacity, users, shards, is_stopping, heartbeat_at FROM idlers
            WHERE heartbeat_at > now() - make_interval(secs => $2)
        ), mine AS MATERIALIZED (
            SELECT shard, epoch FROM shards WHERE owner = $1
        ), {_ROLL}
        SELECT
            ARRAY(SELECT (id, capacity, users, shards, is_stopping) FROM living ORDER BY id),
            ARRAY(SELECT (shard::int, epoch) FROM mine),
            ARRAY(SELECT shard::int FROM shards WHERE owner IS NULL),
            ARRAY(SELECT shard::int FROM shards WHERE owner NOT IN (SELECT id FROM living)),
            (SELECT $2 - extract(epoch FROM now() - min(heartbeat_at))::float8 FROM living WHERE id <> $1),
            {_CHANGED}
        FROM people
    """  # noqa: S608 - constants
    row = await pool.fetchrow(sql, idler, expiry, list(known), list(known.values()))
    members, mine, free, expired, next_expiry = row[:5]
    return ClusterView(
        tuple(Member(*each) for each in members),
        dict(mine),
        frozenset(free),
        frozenset(expired),
        math.inf if next_expiry is None else next_expiry,
        _roll(row[5:]),
    )


async def changed(pool: Pool, idler: int, shards: Iterable[int], *, known: Mapping[int, int]) -> Roll:
    """The users of those of `shards` that are this idler's, where they are not as `known`."""
    sql = f"""
        WITH mine AS MATERIALIZED (
            SELECT shard FROM shards WHERE owner = $1 AND shard = ANY($2::smallint[])
        ), {_ROLL}
        SELECT {_CHANGED} FROM people
    """  # noqa: S608 - constants
    return _roll(await pool.fetchrow(sql, idler, list(shards), list(known), list(known.values())))


def _roll(columns: Sequence[list[int] | None]) -> Roll:
    shards, digests, *people = columns
    users: dict[int, dict[int, int]] = {shard: {} for shard in shards or ()}
    for shard, user, version in zip(*(column or () for column in people), strict=True):
        users[shard][user] = version
    return Roll(dict(zip(users, digests or (), strict=True)), users)


async def take(pool: Pool, idler: int, shards: Iterable[int], *, expiry: float) -> dict[int, int]:
    """Own those of `shards` that no living idler owns; shard to new epoch.

    The new epoch changes a unique key, so it waits for every intake that asserts the old one.
    """
    sql = """
        UPDATE shards SET owner = $1, epoch = epoch + 1, changed_at = now()
        WHERE shard = ANY($2::smallint[]) AND (owner IS NULL OR owner NOT IN (
            SELECT id FROM idlers WHERE heartbeat_at > now() - make_interval(secs => $3)))
        RETURNING shard, epoch
    """
    return {row["shard"]: row["epoch"] for row in await pool.fetch(sql, idler, list(shards), expiry)}


async def promise(
    pool: Pool, target: int, *, users: int, shards: int, most_users: int, most_shards: int, expiry: float
) -> bool:
    """Count what is about to be handed to `target` among its load; False if it has no room, stops or is dead."""
    sql = """
        UPDATE idlers SET users = users + $2, shards = shards + $3
        WHERE id = $1 AND ($2 = 0 OR users + $2 <= $4) AND shards + $3 <= $5 AND NOT is_stopping
          AND heartbeat_at > now() - make_interval(secs => $6)
        RETURNING true
    """
    return bool(await pool.fetchval(sql, target, users, shards, most_users, most_shards, expiry))


async def hand_over(pool: Pool, idler: int, target: int, shards: Iterable[int]) -> None:
    """Make `target` the owner of these shards of mine, and ring it; if it is gone, they become free.

    As in `take`, the new epoch waits for every intake that asserts the old one.
    """
    sql = """
        WITH target AS MATERIALIZED (SELECT id FROM idlers WHERE id = $2 FOR KEY SHARE), moved AS (
            UPDATE shards SET owner = (SELECT id FROM target), epoch = epoch + 1, changed_at = now()
            WHERE owner = $1 AND shard = ANY($3::smallint[]) RETURNING owner
        )
        SELECT pg_notify($4, coalesce(owner::text, $5)) FROM moved LIMIT 1
    """
    await pool.execute(sql, idler, target, list(shards), SHARDS_CHANNEL, EVERY_IDLER)


async def give_back(pool: Pool, idler: int, shards: Iterable[int]) -> None:
    """Stop owning `shards`, and tell the others that they are free."""
    sql = """
        WITH freed AS (
            UPDATE shards SET owner = NULL WHERE shard = ANY($2::smallint[]) AND owner = $1 RETURNING 1
        )
        SELECT pg_notify($3, $4) FROM freed LIMIT 1
    """
    await pool.execute(sql, idler, list(shards), SHARDS_CHANNEL, EVERY_IDLER)


async def leave(pool: Pool, idler: int) -> None:
    """Leave the cluster; whatever is still owned becomes free."""
    sql = "WITH gone AS (DELETE FROM idlers WHERE id = $1) SELECT pg_notify($2, $3)"
    await pool.execute(sql, idler, SHARDS_CHANNEL, EVERY_IDLER)
