"""Membership of idlers in the cluster, and the ownership of shards; all times are PostgreSQL's."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from operator import xor

from asyncpg import Pool

from superimap.db import statements
from superimap.domain.shards import EVERY_IDLER, SHARDS_CHANNEL

_STATEMENTS = statements.load(__file__)
_JOIN_CLUSTER = _STATEMENTS["join_cluster"]
_RENEW_LEASE = _STATEMENTS["renew_lease"]
_READ_CLUSTER = _STATEMENTS["read_cluster"]
_READ_CHANGED_USERS = _STATEMENTS["read_changed_users"]
_TAKE_SHARDS = _STATEMENTS["take_shards"]
_RESERVE_CAPACITY = _STATEMENTS["reserve_capacity"]
_BEGIN_HAND_OVER = _STATEMENTS["begin_hand_over"]
_HAND_OVER_SHARDS = _STATEMENTS["hand_over_shards"]
_RELEASE_SHARDS = _STATEMENTS["release_shards"]
_LEAVE_CLUSTER = _STATEMENTS["leave_cluster"]


@dataclass(frozen=True, slots=True)
class Member:
    """An idler whose lease has not ended.

    `users` and `shards` are its load as it reported it, plus what was reserved for hand-overs since.
    """

    id: int
    capacity: int
    users: int
    shards: int
    is_stopping: bool


@dataclass(frozen=True, slots=True)
class ShardUsers:
    """Users that should be watched in some shards: by shard, user id to version of the credentials.

    `digests` has a number for each of these shards that changes with its users, so that a change is found without
    reading the users.
    """

    digests: dict[int, int] = field(default_factory=dict)
    users: dict[int, dict[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClusterView:
    """Snapshot of the cluster as one idler sees it.

    `mine` maps the idler's shards to their epochs; `free` shards have no owner, or one that has ended; the owners
    of `expired` shards have lost their leases. `next_expiry` is the number of seconds until another idler's lease
    ends unless it is renewed. `changed` has the users of this idler's shards whose users changed.
    """

    members: tuple[Member, ...]
    mine: dict[int, int]
    free: frozenset[int]
    expired: frozenset[int]
    next_expiry: float
    changed: ShardUsers


async def join(pool: Pool, *, name: str, version: str, capacity: int, health_port: int | None) -> int:
    """Join the cluster and notify the other idlers; return the id of the new idler."""
    given = {"name": name, "version": version, "capacity": capacity, "health_port": health_port}
    bound = _JOIN_CLUSTER.bind(**given, channel=SHARDS_CHANNEL, payload=EVERY_IDLER)
    return int(await pool.fetchval(*bound))


async def renew_lease(
    pool: Pool,
    idler: int,
    *,
    beat: int,
    sessions: int,
    users: int,
    shards: int,
    is_stopping: bool,
    forget_after: float,
) -> tuple[int, datetime] | None:
    """Renew the lease on everything this idler owns, and report its load.

    `beat` is the number of this heartbeat. Returns the number that the row had before, and when the PostgreSQL
    server was started; None if the idler was removed meanwhile. Removes idlers without a heartbeat for
    `forget_after` seconds.
    """
    row = await pool.fetchrow(
        *_RENEW_LEASE.bind(
            idler=idler,
            beat=beat,
            sessions=sessions,
            users=users,
            shards=shards,
            is_stopping=is_stopping,
            forget_after=forget_after,
        )
    )
    return None if row is None else (row[0], row[1])


async def read_cluster(pool: Pool, idler: int, *, expiry: float, known: Mapping[int, int]) -> ClusterView:
    """Return the cluster as this idler sees it; leases last `expiry` seconds.

    `known` is the digest of each shard whose users the idler knows. A second statement reads the users of other
    shards and of shards that changed; while there are none, a round sends and receives no digests.
    """
    members, shards, epochs, free, expired, next_expiry, digest = await pool.fetchrow(
        *_READ_CLUSTER.bind(idler=idler, expiry=expiry)
    )
    mine = dict(zip(shards or (), epochs or (), strict=True))
    changed = ShardUsers()
    if any(shard not in known for shard in mine) or digest != reduce(xor, map(known.__getitem__, mine), 0):
        changed = await read_changed_users(pool, idler, mine, known=known)
    return ClusterView(
        tuple(Member(*each) for each in members),
        mine,
        frozenset(free),
        frozenset(expired),
        math.inf if next_expiry is None else next_expiry,
        changed,
    )


async def read_changed_users(
    pool: Pool, idler: int, shards: Iterable[int], *, known: Mapping[int, int]
) -> ShardUsers:
    """Return the users of those of `shards` that this idler owns and whose digest is not the `known` one."""
    return _shard_users(
        await pool.fetchrow(
            *_READ_CHANGED_USERS.bind(
                idler=idler,
                shards=list(shards),
                known_shards=list(known),
                known_digests=list(known.values()),
            )
        )
    )


def _shard_users(columns: Sequence[list[int] | None]) -> ShardUsers:
    shards, digests, *people = columns
    users: dict[int, dict[int, int]] = {shard: {} for shard in shards or ()}
    for shard, user, version in zip(*(column or () for column in people), strict=True):
        users[shard][user] = version
    return ShardUsers(dict(zip(users, digests or (), strict=True)), users)


async def take_shards(pool: Pool, idler: int, shards: Iterable[int], *, expiry: float) -> dict[int, int]:
    """Become the owner of those of `shards` that no living idler owns; return shard to new epoch.

    The new epoch changes a unique key, so the statement waits for every intake that asserts the old one.
    """
    rows = await pool.fetch(*_TAKE_SHARDS.bind(idler=idler, shards=list(shards), expiry=expiry))
    return {row["shard"]: row["epoch"] for row in rows}


async def reserve_capacity(
    pool: Pool, target: int, *, users: int, shards: int, max_users: int, max_shards: int, expiry: float
) -> bool:
    """Add what is about to be handed to `target` to its load; False if it lacks room, is stopping or is dead."""
    return bool(
        await pool.fetchval(
            *_RESERVE_CAPACITY.bind(
                target=target,
                users=users,
                shards=shards,
                max_users=max_users,
                max_shards=max_shards,
                expiry=expiry,
            )
        )
    )


async def begin_hand_over(pool: Pool, idler: int, shards: Iterable[int]) -> None:
    """Record that the sessions of these shards are about to end: their users count as watched no longer."""
    await pool.execute(*_BEGIN_HAND_OVER.bind(idler=idler, shards=list(shards)))


async def hand_over_shards(pool: Pool, idler: int, target: int, shards: Iterable[int]) -> None:
    """Make `target` the owner of these shards of `idler` and notify it; if it has left, the shards become free.

    As in `take_shards`, the new epoch waits for every intake that asserts the old one.
    """
    await pool.execute(
        *_HAND_OVER_SHARDS.bind(
            idler=idler,
            target=target,
            shards=list(shards),
            channel=SHARDS_CHANNEL,
            every_idler=EVERY_IDLER,
        )
    )


async def release_shards(pool: Pool, idler: int, shards: Iterable[int]) -> None:
    """Stop owning `shards`, and notify the other idlers that the shards are free."""
    await pool.execute(
        *_RELEASE_SHARDS.bind(idler=idler, shards=list(shards), channel=SHARDS_CHANNEL, payload=EVERY_IDLER)
    )


async def leave(pool: Pool, idler: int) -> None:
    """Leave the cluster; every shard that the idler still owns becomes free."""
    await pool.execute(*_LEAVE_CLUSTER.bind(idler=idler, channel=SHARDS_CHANNEL, payload=EVERY_IDLER))
