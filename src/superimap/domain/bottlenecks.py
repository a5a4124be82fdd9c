"""Limits of one installation, and the one that growth reaches first; settings that a demand changes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from superimap.domain.capacity import MAX_CPU_SHARE, MIB_BYTES, Capacity
from superimap.domain.shards import SHARD_COUNT

MAX_WAL_MIB_PER_S = 100.0
"""WAL that one primary can write and a standby can follow. An assumption, not measured: it depends on disks."""
MAX_CONNECTIONS = 5_000
"""Connections of one primary. An assumption: each takes memory, and a snapshot looks at all of them."""
MAX_RELOGIN_SECONDS = 600.0
"""Time after which all sessions of a lost zone should exist again."""
STALL_CHECK_SECONDS = 900.0
"""Time in which each user should be looked at for a stall: the default of STALLED_AFTER."""
CHECKED_USERS_PER_S = 10_000.0
"""Users that the dispatchers look at, by one statement a second."""
MAX_POSTS_PER_ENDPOINT = 1000
"""Largest value of the setting."""
DEFAULT_POSTS_PER_ENDPOINT = 10
DEFAULT_QUOTA_USERS = 100_000


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """A limit. `use` is the part of it that is needed; at 1 it is reached.

    Beyond one that is not hard, something comes late and all goes on. One that is not divided is as large in each
    cell as in one installation, because a partner is in one cell.
    """

    name: str
    use: float
    reason: str
    remedy: str
    is_hard: bool = True
    is_divided: bool = True


def bottlenecks(capacity: Capacity) -> list[Bottleneck]:
    """Return the limits of one installation, the hard one that is reached first at the beginning."""
    found = [*_of_postgres(capacity), *_of_idlers(capacity), *_of_webhooks(capacity)]
    return sorted(found, key=lambda each: (each.is_hard, each.use), reverse=True)


def _of_postgres(capacity: Capacity) -> list[Bottleneck]:
    cores, relogin = capacity.demand.postgres_cores, capacity.relogin_seconds
    wal = capacity.peak_wal / MIB_BYTES
    return [
        Bottleneck(
            "CPU of PostgreSQL",
            capacity.postgres_cores / (cores * MAX_CPU_SHARE),
            f"{capacity.postgres_cores:,.1f} cores at the peak, and {MAX_CPU_SHARE:.0%} of {cores} may be used",
            "a larger primary (--postgres-cores), then cells",
        ),
        Bottleneck(
            "WAL of PostgreSQL",
            wal / MAX_WAL_MIB_PER_S,
            f"{wal:,.1f} MiB a second at the peak, and {MAX_WAL_MIB_PER_S:g} are assumed to be safe",
            "faster disks and network, then cells",
        ),
        Bottleneck(
            "connections to PostgreSQL",
            capacity.connections / MAX_CONNECTIONS,
            f"{capacity.connections:,.0f} connections, and {MAX_CONNECTIONS:,} are assumed to be safe",
            "idlers with more sessions (--max-sessions), "
            + ("" if capacity.demand.has_pooler else "PgBouncer in transaction mode (--pooler), ")
            + "then cells",
        ),
        Bottleneck(
            "logins after the loss of a zone" if capacity.demand.zones > 1 else "logins after a start",
            relogin / MAX_RELOGIN_SECONDS,
            f"{capacity.lost_sessions:,.0f} sessions at {capacity.possible_logins:,.0f} logins a second "
            f"take {relogin:,.0f} s, and {MAX_RELOGIN_SECONDS:g} s are wanted",
            "a higher LOGINS_PER_SECOND if the mail servers accept it, more PostgreSQL cores, then cells",
        ),
    ]


def _of_idlers(capacity: Capacity) -> list[Bottleneck]:
    seconds = capacity.demand.mailboxes / CHECKED_USERS_PER_S
    return [
        Bottleneck(
            "number of idlers",
            capacity.idlers / SHARD_COUNT,
            f"{capacity.idlers:,} idlers, and {SHARD_COUNT:,} shards can be divided among them",
            "idlers with more sessions (--max-sessions), then cells",
        ),
        Bottleneck(
            "stall check",
            seconds / STALL_CHECK_SECONDS,
            f"one walk through all users takes {seconds:,.0f} s, and STALLED_AFTER is {STALL_CHECK_SECONDS:g} s",
            "nothing has to be done: events about stalled users come late; cells shorten the walk",
            is_hard=False,
        ),
    ]


def _of_webhooks(capacity: Capacity) -> list[Bottleneck]:
    posts = capacity.posts_per_endpoint
    return [
        Bottleneck(
            "POSTs to one partner",
            posts / MAX_POSTS_PER_ENDPOINT,
            f"{posts:,} POSTs in flight at the peak, and POSTS_PER_ENDPOINT is at most {MAX_POSTS_PER_ENDPOINT:,}",
            "receivers that answer faster (--answer-ms), or several partners instead of one (--partners)",
            is_divided=False,
        ),
        Bottleneck(
            "CPU of Redis or Valkey",
            capacity.redis_cores / MAX_CPU_SHARE,
            f"{capacity.redis_cores:.2f} of its one core at the peak, and {MAX_CPU_SHARE:.0%} may be used",
            "cells",
        ),
    ]


def settings(capacity: Capacity) -> dict[str, str]:
    """Return the settings that have to differ from their defaults, as they are written in the environment."""
    demand = capacity.demand
    found = {"MAX_SESSIONS": f"{demand.max_sessions}"} if demand.max_sessions != 10_000 else {}
    if capacity.possible_logins < capacity.allowed_logins:
        found["LOGINS_PER_SECOND"] = _rounded_down(capacity.possible_logins / capacity.idlers_left)
    elif demand.logins_per_second != 100:
        found["LOGINS_PER_SECOND"] = f"{demand.logins_per_second:g}"
    if capacity.posts_per_endpoint > DEFAULT_POSTS_PER_ENDPOINT:
        found["POSTS_PER_ENDPOINT"] = f"{min(capacity.posts_per_endpoint, MAX_POSTS_PER_ENDPOINT)}"
    if (users := math.ceil(demand.mailboxes / demand.partners)) > DEFAULT_QUOTA_USERS:
        found |= {"QUOTA_USERS": f"{users}", "QUOTA_SESSIONS": f"{users}"}
    if demand.retention_days != 90:
        found["MESSAGE_RETENTION_DAYS"] = f"{demand.retention_days:g}"
    return found


def _rounded_down(rate: float) -> str:
    """Return a rate with two digits behind the point, or four if it is small; never 0, which is no rate."""
    steps = 100 if rate >= 0.1 else 10_000
    return f"{max(1, math.floor(rate * steps)) / steps:g}"


def cells(capacity: Capacity) -> int:
    """Return the number of equal installations that exceed no hard limit that they divide, by simple division."""
    uses = [each.use for each in bottlenecks(capacity) if each.is_hard and each.is_divided]
    return max(1, math.ceil(max(uses)))
