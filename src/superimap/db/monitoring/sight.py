"""Is everybody watched? The whole cluster in one look: idlers, shards, users, and what moved lately."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from asyncpg import Connection, Pool
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

STATES = ("ready", "full", "stopping", "silent")


@dataclass(frozen=True, slots=True)
class IdlerSeen:
    """An idler as the database knows it; `users` counts those of its shards who should be watched.

    `heartbeat_age` is in seconds by PostgreSQL's clock; `address` is where PostgreSQL sees it (None: a socket).
    """

    id: int
    name: str
    address: str | None
    version: str
    started_at: datetime
    capacity: int
    sessions: int
    is_full: bool
    is_stopping: bool
    is_alive: bool
    heartbeat_age: float
    shards: int
    users: int

    @property
    def state(self) -> str:
        """One of STATES."""
        if not self.is_alive:
            return "silent"
        if self.is_stopping:
            return "stopping"
        return "full" if self.is_full else "ready"

    @property
    def unserved(self) -> int:
        """Users of its shards that it cannot watch: all if it is dead, else those beyond its capacity."""
        return max(self.users - self.capacity, 0) if self.is_alive else self.users


@dataclass(frozen=True, slots=True)
class Shards:
    """Shards by who owns them: a living idler, nobody, or one whose heartbeat has expired."""

    owned: int
    free: int
    expired: int


@dataclass(frozen=True, slots=True)
class Users:
    """Users by whether they should be watched, whether they are, and whether nobody can."""

    wanted: int
    watched: int
    unserved: int


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at the cluster. `moved` is the number of shards that changed owner within the last hour."""

    idlers: tuple[IdlerSeen, ...]
    shards: Shards
    users: Users
    moved: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the same names, with the idlers' own `unserved`."""
        idlers = [asdict(idler) | {"unserved": idler.unserved} for idler in self.idlers]
        return asdict(self) | {"idlers": idlers}


# One statement, so that what is counted belongs together. Read by index: ix_users_shard has just those wanted.
_LOOK = """
    WITH people AS (
        SELECT shard, count(*) AS wanted, count(*) FILTER (WHERE status = 'watching') AS watched
        FROM users WHERE NOT archived AND connected_at IS NOT NULL GROUP BY shard
    ), seen AS (
        SELECT *, extract(epoch FROM now() - heartbeat_at) AS age,
               heartbeat_at > now() - make_interval(secs => {expiry}) AS is_alive
        FROM idlers
    ), held AS (
        SELECT s.owner, i.is_alive, s.changed_at, coalesce(p.wanted, 0) AS wanted,
               coalesce(p.watched, 0) AS watched
        FROM shards s LEFT JOIN seen i ON i.id = s.owner LEFT JOIN people p ON p.shard = s.shard
    ), loads AS (
        SELECT owner, count(*) AS shards, sum(wanted) AS users FROM held GROUP BY owner
    )
    SELECT
        (SELECT CAST(coalesce(json_agg(json_build_array(
             i.id, i.name, host(i.address), i.version, i.started_at, i.capacity, i.sessions, i.is_full,
             i.is_stopping, i.is_alive, i.age, coalesce(l.shards, 0), coalesce(l.users, 0)
         ) ORDER BY i.id), '[]') AS text) FROM seen i LEFT JOIN loads l ON l.owner = i.id),
        count(*) FILTER (WHERE is_alive),
        count(*) FILTER (WHERE owner IS NULL),
        count(*) FILTER (WHERE NOT is_alive),
        coalesce(sum(wanted), 0),
        coalesce(sum(watched) FILTER (WHERE is_alive), 0),
        coalesce(sum(wanted) FILTER (WHERE owner IS NULL), 0),
        count(*) FILTER (WHERE changed_at > now() - interval '1 hour')
    FROM held
"""
_RAW = _LOOK.format(expiry="$1")
_BOUND = text(_LOOK.format(expiry=":expiry"))


async def look(db: Connection | Pool, *, expiry: float) -> Sight:
    """The cluster now. An idler is alive whose heartbeat is younger than `expiry` seconds."""
    return _sight(await db.fetchrow(_RAW, expiry))


async def look_in(db: AsyncSession, *, expiry: float) -> Sight:
    """The same in a transaction of SQLAlchemy's."""
    return _sight((await db.execute(_BOUND, {"expiry": expiry})).one())


def _sight(row: Iterable[Any]) -> Sight:
    listed, owned, free, expired, wanted, watched, unowned, moved = row
    idlers = tuple(_idler(values) for values in json.loads(listed))
    unserved = int(unowned) + sum(idler.unserved for idler in idlers)
    # Who was handed to an idler without a seat left says `watching` until it is found to be stalled.
    seated = min(int(watched), int(wanted) - unserved)
    return Sight(idlers, Shards(owned, free, expired), Users(int(wanted), seated, unserved), moved)


def _idler(values: list[Any]) -> IdlerSeen:
    values[4] = datetime.fromisoformat(values[4])
    values[10] = round(float(values[10]), 1)
    return IdlerSeen(*values)
