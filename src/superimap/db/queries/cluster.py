"""Who watches what: heartbeats and the ownership of shards, by PostgreSQL's clock."""

from collections.abc import Iterable
from dataclasses import dataclass

from asyncpg import Pool

SHARDS_BELL = "superimap_shards"


@dataclass(frozen=True, slots=True)
class Member:
    """An idler whose heartbeat is fresh."""

    id: int
    capacity: int
    is_full: bool
    is_stopping: bool


@dataclass(frozen=True, slots=True)
class View:
    """One look at the cluster: who lives, what is mine (shard to epoch), and what nobody living owns."""

    members: tuple[Member, ...]
    mine: dict[int, int]
    free: frozenset[int]


async def join(pool: Pool, *, name: str, version: str, capacity: int) -> int:
    """Enter the cluster; the id of the new idler."""
    sql = "INSERT INTO idlers (name, version, capacity) VALUES ($1, $2, $3) RETURNING id"
    return int(await pool.fetchval(sql, name, version, capacity))


async def beat(pool: Pool, idler: int, *, sessions: int, is_full: bool, is_stopping: bool) -> bool:
    """Renew the lease on everything this idler owns; False if the idler was struck off meanwhile."""
    sql = """
        UPDATE idlers SET heartbeat_at = now(), sessions = $2, is_full = $3, is_stopping = $4
        WHERE id = $1 RETURNING true
    """
    return bool(await pool.fetchval(sql, idler, sessions, is_full, is_stopping))


async def look(pool: Pool, idler: int, *, expiry: float) -> View:
    """The cluster as this idler must see it; `expiry` in seconds."""
    sql = """
        WITH living AS (
            SELECT id, capacity, is_full, is_stopping FROM idlers
            WHERE heartbeat_at > now() - make_interval(secs => $2)
        )
        SELECT
            ARRAY(SELECT (id, capacity, is_full, is_stopping) FROM living ORDER BY id),
            ARRAY(SELECT (shard::int, epoch) FROM shards WHERE owner = $1),
            ARRAY(SELECT shard::int FROM shards
                  WHERE owner IS NULL OR owner NOT IN (SELECT id FROM living))
    """
    members, mine, free = await pool.fetchrow(sql, idler, expiry)
    return View(tuple(Member(*row) for row in members), dict(mine), frozenset(free))


async def take(pool: Pool, idler: int, shards: Iterable[int], *, expiry: float) -> dict[int, int]:
    """Own those of `shards` that no living idler owns; shard to new epoch.

    The new epoch changes a unique key, so it waits for every intake that asserts the old one.
    """
    sql = """
        UPDATE shards SET owner = $1, epoch = epoch + 1
        WHERE shard = ANY($2::smallint[]) AND (owner IS NULL OR owner NOT IN (
            SELECT id FROM idlers WHERE heartbeat_at > now() - make_interval(secs => $3)))
        RETURNING shard, epoch
    """
    return {row["shard"]: row["epoch"] for row in await pool.fetch(sql, idler, list(shards), expiry)}


async def give_back(pool: Pool, idler: int, shards: Iterable[int]) -> None:
    """Stop owning `shards`, and tell the others that they are free."""
    sql = """
        WITH freed AS (
            UPDATE shards SET owner = NULL WHERE shard = ANY($2::smallint[]) AND owner = $1 RETURNING 1
        )
        SELECT pg_notify($3, '') FROM freed LIMIT 1
    """
    await pool.execute(sql, idler, list(shards), SHARDS_BELL)


async def leave(pool: Pool, idler: int) -> None:
    """Leave the cluster; whatever is still owned becomes free."""
    sql = "WITH gone AS (DELETE FROM idlers WHERE id = $1) SELECT pg_notify($2, '')"
    await pool.execute(sql, idler, SHARDS_BELL)


async def strike_off(pool: Pool, *, after: float) -> int:
    """Delete idlers silent for `after` seconds; how many."""
    sql = """
        WITH gone AS (
            DELETE FROM idlers WHERE heartbeat_at < now() - make_interval(secs => $1) RETURNING 1
        ) SELECT count(*) FROM gone
    """
    return int(await pool.fetchval(sql, after))
