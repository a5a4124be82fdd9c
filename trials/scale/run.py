"""A run of the simulation: start, quiet time, join, leave, outage of a provider, loss of a zone."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import asyncpg

from fixtures import bulk
from superimap.core.crypto import Vault, generate_key
from trials.scale import member
from trials.scale.cluster import SimulatedCluster, loop
from trials.scale.database import CountingDatabase
from trials.scale.provider import SimulatedProvider
from trials.simulation.clock import SimulatedLoop, simulated_clocks

LOOKS_PER_SECOND = 4
"""Looks of an idler whether its followers live; they are not simulated."""
WINDOW_SECONDS = 10
PHASES = ("start", "quiet", "join", "leave", "outage", "zone")
_MERGE = """
    WITH old AS (DELETE FROM shard_user_sums RETURNING shard, wanted, digest)
    INSERT INTO shard_user_sums (shard, wanted, digest)
    SELECT shard, sum(wanted), bit_xor(digest) FROM old GROUP BY shard
"""
_PAGES = "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()"


@dataclass(frozen=True, slots=True)
class Size:
    """A cluster to simulate. One session in the simulation stands for `weight` mailboxes."""

    mailboxes: int = 10_000_000
    idlers: int = 1000
    max_sessions: int = 17_500
    logins_per_second: float = 100.0
    weight: int = 100
    outage_seconds: float = 120.0
    quiet_seconds: float = 30.0
    provider_logins_per_second: float | None = None
    phases: tuple[str, ...] = PHASES


@dataclass(frozen=True, slots=True)
class PhaseReport:
    """What happened in a phase; rates are per second of simulated time, logins those of real mailboxes.

    `logins_over_time` has the mean of each ten seconds.
    """

    name: str
    seconds: float
    all_watched_after: float
    all_owned_after: float
    gap_p50: float
    gap_max: float
    logins_max: dict[str, int]
    logins_10s_max: dict[str, float]
    logins_over_time: dict[str, list[int]]
    statements_per_s: float
    rounds_max_per_s: int
    pages_per_s: float
    statements: dict[str, int]


@dataclass(frozen=True, slots=True)
class ScaleReport:
    """All phases of a run, and users that had two sessions at once."""

    size: dict[str, Any]
    watched_twice: int
    refused: int
    max_over_mean: float
    phases: list[PhaseReport]


def run(
    url: str, size: Size, *, seed: int, on_phase: Callable[[PhaseReport], None] = lambda _: None
) -> ScaleReport:
    """Simulate a cluster on this migrated, empty database; `on_phase` gets each phase when it has ended."""
    random.seed(seed)
    asyncio.run(_fill(url, size.mailboxes // size.weight))
    with simulated_clocks(), asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(_simulate(url, size, seed, on_phase))


async def _fill(url: str, users: int) -> None:
    await bulk.add_users(url, users, vault=Vault.from_setting(generate_key()), port=993, tls=True)
    db = await asyncpg.connect(url)
    await db.execute(_MERGE)
    await db.execute("VACUUM ANALYZE")
    await db.close()


async def _simulate(url: str, size: Size, seed: int, on_phase: Callable[[PhaseReport], None]) -> ScaleReport:
    database = await CountingDatabase.open_blocking(url, loop())
    limit = size.provider_logins_per_second
    providers = [
        SimulatedProvider(name, weight=size.weight, most_per_second=limit) for name in ("large", "small")
    ]
    cluster = SimulatedCluster(
        database,
        providers,
        users=size.mailboxes // size.weight,
        weight=size.weight,
        capacity=size.max_sessions // size.weight,
        logins_per_second=size.logins_per_second / size.weight,
        rng=random.Random(seed),
    )
    database.on_notice = cluster.ring
    recorder = PhaseRecorder(cluster)
    phases = []
    for name, work in _phases(cluster, providers[0], size):
        if name in size.phases:
            phases.append(await recorder.phase(name, work()))
            on_phase(phases[-1])
    users = [each.users for each in cluster.idlers.values()]
    await member.close(cluster.idlers.values())
    await database.close()
    return ScaleReport(
        asdict(size),
        watched_twice=cluster.watched_twice,
        refused=sum(each.refused for each in providers),
        max_over_mean=max(users) * len(users) / sum(users),
        phases=phases,
    )


def _phases(
    cluster: SimulatedCluster, provider: SimulatedProvider, size: Size
) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
    few, third = max(1, size.idlers // 20), size.idlers // 3
    yield "start", lambda: cluster.join(size.idlers, within=30)
    yield "quiet", lambda: asyncio.sleep(size.quiet_seconds)
    yield "join", lambda: cluster.join(few, within=10)
    yield "leave", lambda: cluster.leave(list(cluster.idlers)[:few])
    yield "outage", lambda: _outage(provider, size.outage_seconds)
    yield "zone", lambda: cluster.kill(list(cluster.idlers)[::3][:third])


async def _outage(provider: SimulatedProvider, seconds: float) -> None:
    provider.fail()
    await asyncio.sleep(seconds)
    provider.recover()


class PhaseRecorder:
    """Runs phases, each until all is watched again and for the time that loads need to settle."""

    WITHIN_SECONDS = 3600.0
    SETTLE_SECONDS = 20.0

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster

    async def phase(self, name: str, work: Awaitable[None]) -> PhaseReport:
        """Do the work, and report what happens until its effects have ended."""
        cluster, began = self._cluster, loop().time()
        counts, pages = Counter(cluster.database.counts), await self._pages()
        cluster.gaps.clear()
        per_second: Counter[int] = Counter()
        counting = asyncio.create_task(self._count_rounds(per_second))
        await work
        done = loop().time() - began
        owned = done + await cluster.wait_until(lambda: cluster.are_all_owned, within=self.WITHIN_SECONDS)
        watched = owned + await cluster.wait_until(
            lambda: cluster.are_all_watched, within=self.WITHIN_SECONDS
        )
        await asyncio.sleep(self.SETTLE_SECONDS)
        watched_again = await cluster.wait_until(lambda: cluster.are_all_watched, within=self.WITHIN_SECONDS)
        counting.cancel()
        took, gaps = loop().time() - began, sorted(cluster.gaps) or [0.0]
        found = cluster.database.counts - counts
        first, last = int(began), int(loop().time())
        return PhaseReport(
            name=name,
            seconds=round(took, 2),
            all_watched_after=round(
                watched + (self.SETTLE_SECONDS + watched_again if watched_again else 0.0), 2
            ),
            all_owned_after=round(owned, 2),
            gap_p50=round(gaps[len(gaps) // 2], 2),
            gap_max=round(gaps[-1], 2),
            logins_max={each.name: each.most_logins(first, last, seconds=1) for each in cluster.providers},
            logins_10s_max={
                each.name: each.most_logins(first, last, seconds=WINDOW_SECONDS) / WINDOW_SECONDS
                for each in cluster.providers
            },
            logins_over_time={
                each.name: each.logins_over_time(first, last, seconds=WINDOW_SECONDS)
                for each in cluster.providers
            },
            statements_per_s=round(sum(found.values()) / took + LOOKS_PER_SECOND * len(cluster.idlers), 1),
            rounds_max_per_s=max(per_second.values(), default=0),
            pages_per_s=round((await self._pages() - pages) / took, 1),
            statements=dict(found.most_common()),
        )

    async def _count_rounds(self, per_second: Counter[int]) -> None:
        before = self._cluster.database.counts["read_cluster"]
        while True:
            await asyncio.sleep(1.0)
            now = self._cluster.database.counts["read_cluster"]
            per_second[int(loop().time())] = now - before
            before = now

    async def _pages(self) -> int:
        await self._cluster.database.ask("execute", "SELECT pg_stat_force_next_flush()")
        pages: int = await self._cluster.database.ask("fetchval", _PAGES)
        return pages
