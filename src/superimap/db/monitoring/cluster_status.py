"""Status of the whole cluster: idlers, shards, users, and recent changes of owner.

Imports no SQLAlchemy, because the dispatcher reads the status on its asyncpg pool.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from asyncpg import Connection, Pool

from superimap.db.presence import IDLER_LOCK_SPACE

IDLER_STATES = ("ready", "full", "stopping", "silent")


@dataclass(frozen=True, slots=True)
class IdlerStatus:
    """An idler as the database describes it. `users` counts the users of its shards that should be watched.

    `heartbeat_age` is in seconds by PostgreSQL's clock. `address` is its address as PostgreSQL sees it; None for a
    Unix socket.
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
        """One of IDLER_STATES."""
        if not self.is_alive:
            return "silent"
        if self.is_stopping:
            return "stopping"
        return "full" if self.is_full else "ready"

    @property
    def unserved(self) -> int:
        """Users of its shards that it cannot watch: all of them if it is dead, else those above its capacity."""
        return max(self.users - self.capacity, 0) if self.is_alive else self.users


@dataclass(frozen=True, slots=True)
class ShardCounts:
    """Shards by owner: a living idler, none (`free`), or an idler that is dead (`expired`)."""

    owned: int
    free: int
    expired: int


@dataclass(frozen=True, slots=True)
class UserCounts:
    """Users that should be watched (`wanted`), are watched, and cannot be watched by any idler (`unserved`)."""

    wanted: int
    watched: int
    unserved: int


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """Snapshot of the cluster. `moved` is the number of shards that changed owner within the last hour.

    `deferred_mails` is the number of mails that could not be read yet, of all users.
    """

    idlers: tuple[IdlerStatus, ...]
    shards: ShardCounts
    users: UserCounts
    moved: int
    deferred_mails: int

    def as_dict(self) -> dict[str, Any]:
        """Return the status for JSON: the same names, and `unserved` of each idler."""
        idlers = [asdict(idler) | {"unserved": idler.unserved} for idler in self.idlers]
        return asdict(self) | {"idlers": idlers}


# One statement, so that all counts are of one snapshot. :watched has the number of watched users of each shard, if
# the caller has counted them; if it is empty, they are counted here.
#
# A user is watched once a session was established since its shard changed owner: until then its status is that of
# a session of the former owner. An idler is alive if it holds its lock at this moment. If it has none, or took it
# on another server, its lease alone counts.
QUERY = """
    WITH wanted AS (
        SELECT shard, sum(wanted) AS wanted FROM shard_user_sums GROUP BY shard
    ), watched AS (
        SELECT place - 1 AS shard, users AS watched
        FROM unnest(CAST(:watched AS int[])) WITH ORDINALITY AS given(users, place)
        UNION ALL
        SELECT u.shard, count(*) FROM users u JOIN shards s USING (shard)
        WHERE cardinality(CAST(:watched AS int[])) = 0 AND NOT u.archived AND u.connected_at IS NOT NULL
            AND u.status = 'watching' AND u.last_login_at >= coalesce(s.changed_at, '-infinity')
        GROUP BY u.shard
    ), seen AS (
        SELECT *, extract(epoch FROM now() - heartbeat_at) AS age,
               heartbeat_at > now() - make_interval(secs => :expiry) AND absent_since IS NULL
               AND NOT CASE WHEN presence_server = pg_postmaster_start_time() AND presence IS NOT NULL
                            THEN pg_try_advisory_xact_lock_shared(:space, presence) ELSE false END AS is_alive
        FROM idlers
    ), held AS (
        SELECT s.owner, i.is_alive, s.changed_at, coalesce(w.wanted, 0) AS wanted,
               coalesce(a.watched, 0) AS watched
        FROM shards s LEFT JOIN seen i ON i.id = s.owner
        LEFT JOIN wanted w ON w.shard = s.shard LEFT JOIN watched a ON a.shard = s.shard
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
        count(*) FILTER (WHERE changed_at > now() - interval '1 hour'),
        (SELECT count(*) FROM deferred_mails)
    FROM held
"""
_ASYNCPG_QUERY = QUERY.replace(":expiry", "$1").replace(":space", "$2").replace(":watched", "$3")


async def read_cluster_status(
    db: Connection | Pool, *, expiry: float, watched: Sequence[int] = ()
) -> ClusterStatus:
    """Read the status of the cluster. `watched` are the watched users of each shard, counted if empty.

    An idler is alive if its heartbeat is younger than `expiry` seconds and its process holds its lock.
    """
    return from_row(await db.fetchrow(_ASYNCPG_QUERY, expiry, IDLER_LOCK_SPACE, watched))


def from_row(row: Iterable[Any]) -> ClusterStatus:
    """Build the status from the one row of QUERY."""
    listed, owned, free, expired, wanted, watched, unowned, moved, deferred = row
    idlers = tuple(_idler(values) for values in json.loads(listed))
    unserved = int(unowned) + sum(idler.unserved for idler in idlers)
    # A user handed to an idler that is full keeps the status `watching` until it is found to be stalled.
    served = min(int(watched), int(wanted) - unserved)
    return ClusterStatus(
        idlers,
        ShardCounts(owned, free, expired),
        UserCounts(int(wanted), served, unserved),
        moved,
        deferred,
    )


def _idler(values: list[Any]) -> IdlerStatus:
    values[4] = datetime.fromisoformat(values[4])
    values[10] = round(float(values[10]), 1)
    return IdlerStatus(*values)
