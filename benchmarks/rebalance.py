"""The benchmark `rebalance`: reconcile rounds of many idlers with many users on a real PostgreSQL.

Sessions are tasks that wait. Only some idlers have sessions, and those are measured; the others complete the
cluster.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Any

import asyncpg

from fixtures import bulk
from fixtures.engines import empty_database
from superimap.core.crypto import Vault, generate_key
from superimap.db import postgres
from superimap.db.watching import ownership as cluster
from superimap.domain.shards import SHARD_COUNT
from superimap.idler import rendezvous
from superimap.idler.ownership import Ownership
from superimap.idler.supervisor import Supervisor

MEASURED_IDLERS = 3
LEASE_SECONDS = 36_000.0  # no idler expires by itself
QUIET_ROUNDS = 5


class CountingPool:
    """A connection pool that counts its statements."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.statements = 0

    def __getattr__(self, name: str) -> Any:
        self.statements += 1
        return getattr(self._pool, name)


class PassiveSupervisor(Supervisor):
    """A supervisor that has users but starts no sessions."""

    def reconcile(self) -> None:
        """Do nothing."""


@dataclass
class ClusterMember:
    """One idler of the cluster."""

    ownership: Ownership
    supervisor: Supervisor

    async def round(self) -> int:
        """Run one reconcile round; returns the number of shards gained or lost."""
        before = self.ownership.epochs
        await self.ownership.reconcile(self.supervisor)
        return len(before.keys() ^ self.ownership.epochs.keys())


async def run(*, users: int, idlers: int, database: str | None) -> dict[str, Any]:
    """Let idlers share the users, then let one join and one die; returns the figures."""
    async with empty_database(database) as url, postgres.pool(url, size=4) as pool:
        await bulk.add_users(url, users, vault=Vault.from_setting(generate_key()), port=993, tls=True)
        counting, capacity = CountingPool(pool), math.ceil(1.5 * users / idlers)
        members = [
            await _join(counting, capacity, is_measured=each < MEASURED_IDLERS) for each in range(idlers)
        ]
        began = time.perf_counter()
        await _settle(members)
        figures: dict[str, Any] = {"bench": "rebalance", "users": users, "idlers": idlers}
        figures["settle_s"] = round(time.perf_counter() - began, 2)
        loads = [member.supervisor.users for member in members]
        figures["max_over_mean"] = round(max(loads) * idlers / users, 3)
        figures |= await _quiet(members[:MEASURED_IDLERS], counting)
        figures |= await _one_joins(members, counting, capacity)
        figures |= await _one_dies(members, pool)
        for member in members[:MEASURED_IDLERS]:
            await member.supervisor.close()
    return figures


async def _join(pool: Any, capacity: int, *, is_measured: bool) -> ClusterMember:
    number = await cluster.join(pool, name="bench", version="0", capacity=capacity, health_port=None)
    # At this login rate a slice is as large as a round allows: the duration of logins is not measured here.
    ownership = Ownership(pool, number, interval=0.0, expiry=LEASE_SECONDS, login_rate=1e9)
    supervisor = (Supervisor if is_measured else PassiveSupervisor)(
        _wait, max_sessions=capacity, ring=lambda: None
    )
    return ClusterMember(ownership, supervisor)


async def _wait(_user: int, _version: int) -> None:
    await asyncio.Event().wait()


async def _settle(members: list[ClusterMember]) -> None:
    """Run rounds of all idlers until no shard moves."""
    while sum([await member.round() for member in members]):
        pass


def _owners(members: list[ClusterMember]) -> dict[int, int]:
    return {shard: each.ownership.idler for each in members for shard in each.ownership.epochs}


async def _quiet(measured: list[ClusterMember], counting: CountingPool) -> dict[str, Any]:
    """Measure rounds in which nothing changes: CPU of this process, and statements."""
    await asyncio.sleep(0.5)  # until the tasks have started
    counting.statements, spent = 0, []
    for _ in range(QUIET_ROUNDS):
        for member in measured:
            began = time.process_time()
            await member.round()
            spent.append(time.process_time() - began)
    return {
        "round_cpu_ms": round(sum(spent) / len(spent) * 1000, 2),
        "round_cpu_ms_max": round(max(spent) * 1000, 2),
        "queries_per_round": counting.statements / len(spent),
    }


async def _one_joins(members: list[ClusterMember], counting: CountingPool, capacity: int) -> dict[str, Any]:
    newcomer = await _join(counting, capacity, is_measured=False)
    spent = []
    before = _owners(members)
    for member in members[:MEASURED_IDLERS]:
        # Each has the ranks of the others but not of the newcomer, as in a process of its own.
        rendezvous.ranks.cache_clear()
        for each in members:
            rendezvous.ranks(each.ownership.idler)
        began = time.process_time()
        await member.round()
        spent.append(time.process_time() - began)
    members.append(newcomer)
    await _settle(members)
    after = _owners(members)
    moved = sum(after[shard] != before[shard] for shard in before)
    return {
        "change_cpu_ms": round(max(spent) * 1000, 2),
        "moved_on_join": round(moved * len(members) / SHARD_COUNT, 3),
        "max_over_mean_after_join": round(
            max(each.supervisor.users for each in members)
            * len(members)
            / sum(each.supervisor.users for each in members),
            3,
        ),
    }


async def _one_dies(members: list[ClusterMember], pool: asyncpg.Pool) -> dict[str, Any]:
    dead = members.pop(len(members) // 2)
    before = _owners(members)
    await cluster.leave(pool, dead.ownership.idler)
    spent = []
    for member in members[:MEASURED_IDLERS]:
        began = time.process_time()
        await member.round()
        spent.append(time.process_time() - began)
    await _settle(members)
    after = _owners(members)
    moved = sum(after[shard] != before.get(shard) for shard in after)
    return {
        "moved_on_leave": round(moved / len(dead.ownership.epochs), 3),
        "leave_cpu_ms": round(max(spent) * 1000, 2),
    }
