"""What do many idlers with many users cost each other? Rounds of the real ownership on a real PostgreSQL.

The sessions are tasks that wait, and only some idlers have any: they are measured, the others make up the cluster.
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

MEASURED = 3
LEASE = 36_000.0  # nobody dies unless told to
ROUNDS = 5


class Counting:
    """A pool that counts its statements."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.statements = 0

    def __getattr__(self, name: str) -> Any:
        self.statements += 1
        return getattr(self._pool, name)


class Waiting(Supervisor):
    """Its users are known, and nobody is started for them."""

    def tend(self) -> None:
        """Do nothing."""


@dataclass
class Idler:
    """One of the cluster."""

    ownership: Ownership
    crew: Supervisor

    async def round(self) -> int:
        """One round; how many shards came or went."""
        before = self.ownership.epochs
        await self.ownership.reconcile(self.crew)
        return len(before.keys() ^ self.ownership.epochs.keys())


async def run(*, users: int, idlers: int, database: str | None) -> dict[str, Any]:
    """Let so many idlers share so many users; one joins, one dies; the figures."""
    async with empty_database(database) as url, postgres.pool(url, size=4) as pool:
        await bulk.add_users(url, users, vault=Vault.from_setting(generate_key()), port=993, tls=True)
        counting, capacity = Counting(pool), math.ceil(1.5 * users / idlers)
        members = [await _join(counting, capacity, is_measured=each < MEASURED) for each in range(idlers)]
        began = time.perf_counter()
        await _settle(members)
        figures: dict[str, Any] = {"bench": "rebalance", "users": users, "idlers": idlers}
        figures["settle_s"] = round(time.perf_counter() - began, 2)
        loads = [member.crew.users for member in members]
        figures["max_over_mean"] = round(max(loads) * idlers / users, 3)
        figures |= await _quiet(members[:MEASURED], counting)
        figures |= await _one_joins(members, counting, capacity)
        figures |= await _one_dies(members, pool)
        for member in members[:MEASURED]:
            await member.crew.close()
    return figures


async def _join(pool: Any, capacity: int, *, is_measured: bool) -> Idler:
    number = await cluster.join(pool, name="bench", version="0", capacity=capacity, health_port=None)
    # At such a pace a slice is as large as a round allows: how long logins take is not the question here.
    ownership = Ownership(pool, number, interval=0.0, expiry=LEASE, pace=1e9)
    crew = (Supervisor if is_measured else Waiting)(_wait, most=capacity, ring=lambda: None)
    return Idler(ownership, crew)


async def _wait(_user: int, _version: int) -> None:
    await asyncio.Event().wait()


async def _settle(members: list[Idler]) -> None:
    """Rounds of all until nothing moves."""
    while sum([await member.round() for member in members]):
        pass


def _owners(members: list[Idler]) -> dict[int, int]:
    return {shard: each.ownership.idler for each in members for shard in each.ownership.epochs}


async def _quiet(measured: list[Idler], counting: Counting) -> dict[str, Any]:
    """Rounds in which nothing happens: CPU of this process, and what PostgreSQL was asked."""
    await asyncio.sleep(0.5)  # the tasks have begun
    counting.statements, spent = 0, []
    for _ in range(ROUNDS):
        for member in measured:
            began = time.process_time()
            await member.round()
            spent.append(time.process_time() - began)
    return {
        "round_cpu_ms": round(sum(spent) / len(spent) * 1000, 2),
        "round_cpu_ms_max": round(max(spent) * 1000, 2),
        "queries_per_round": counting.statements / len(spent),
    }


async def _one_joins(members: list[Idler], counting: Counting, capacity: int) -> dict[str, Any]:
    newcomer = await _join(counting, capacity, is_measured=False)
    spent = []
    before = _owners(members)
    for member in members[:MEASURED]:
        # Each has the others' scores and not the newcomer's, as if it had a process to itself.
        rendezvous.scores.cache_clear()
        for each in members:
            rendezvous.scores(each.ownership.idler, capacity)
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
            max(each.crew.users for each in members)
            * len(members)
            / sum(each.crew.users for each in members),
            3,
        ),
    }


async def _one_dies(members: list[Idler], pool: asyncpg.Pool) -> dict[str, Any]:
    dead = members.pop(len(members) // 2)
    before = _owners(members)
    await cluster.leave(pool, dead.ownership.idler)
    spent = []
    for member in members[:MEASURED]:
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
