"""Latency of webhooks on a large database, alone and beside people who read pages without a pause."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import asyncpg
import httpx

from benchmarks import processes, receiver
from benchmarks.receiver import ReadCounts
from fixtures import bulk, pages
from fixtures.bulk import Target
from fixtures.world import World
from superimap.doorbells.redis import EndpointDoorbell
from trials.pages.prepare import disable_endpoints
from trials.pages.timing import read, serving

ENDPOINT_COUNT = 20
WEBHOOKS_PER_SECOND = 20
PAGES_PER_SECOND = 5.0
"""Of all people who read: some thirty, each of whom opens a page every six seconds."""
MEASURED_ROUNDS = 3
MAX_RATIO = 1.1


@dataclass(frozen=True, slots=True)
class Beside:
    """95th percentiles from commit to receiver in milliseconds, of all rounds, and how many pages were read."""

    alone_ms: list[float]
    beside_ms: list[float]
    ratio: float
    pages_read: int
    webhooks: int
    faults: list[str] = field(default_factory=list)


async def measure(world: World, ids: Mapping[str, str], *, seconds: int) -> Beside:
    """Send webhooks in turns of `seconds`: without readers, with them, and so on."""
    await disable_endpoints(world)
    readers = _Readers(list(pages.addresses(ids).values()))
    alone: list[float] = []
    beside: list[float] = []
    async with (
        serving(world) as client,
        receiver.running() as (base, read_counts),
        asyncpg.create_pool(world.database_url, min_size=1, max_size=2) as db,
        processes.worker("dispatcher", world.settings, {"HEALTH_PORT": "0"}),
        EndpointDoorbell(world.redis_url) as doorbell,
    ):
        targets = await bulk.add_targets(db, world.vault, [f"{base}{n}" for n in range(ENDPOINT_COUNT)])
        stream = _Stream(db, world, targets, doorbell, read_counts)
        await stream.send(seconds)  # warms up
        for _ in range(MEASURED_ROUNDS):
            alone += await stream.send(seconds)
            reading = asyncio.create_task(readers.run(client))
            beside += await stream.send(seconds)
            reading.cancel()
            await asyncio.wait([reading])
    ratio = _p95(beside) / _p95(alone)
    faults = [f"webhooks beside readers: p95 {ratio:.2f} times"] if ratio > MAX_RATIO else []
    return Beside(_figures(alone), _figures(beside), round(ratio, 3), readers.count, len(alone), faults)


def _p95(waits: list[float]) -> float:
    return sorted(waits)[int(len(waits) * 0.95)]


def _figures(waits: list[float]) -> list[float]:
    """The median and the 95th percentile, in milliseconds."""
    return [round(sorted(waits)[len(waits) // 2] * 1000, 2), round(_p95(waits) * 1000, 2)]


@dataclass
class _Readers:
    """People who read all pages in turn."""

    addresses: list[str]
    count: int = 0

    async def run(self, client: httpx.AsyncClient) -> None:
        for address in itertools.cycle(self.addresses):
            await read(client, address)
            self.count += 1
            await asyncio.sleep(1 / PAGES_PER_SECOND)


@dataclass(frozen=True, slots=True)
class _Stream:
    """Single webhooks at a steady pace, to the endpoints in turn."""

    db: asyncpg.Pool
    world: World
    targets: list[Target]
    doorbell: EndpointDoorbell
    read_counts: ReadCounts

    async def send(self, seconds: int) -> list[float]:
        """Send for this time; return the seconds from commit to receiver of each webhook."""
        sent: dict[str, float] = {}
        start = time.monotonic()
        for number in range(seconds * WEBHOOKS_PER_SECOND):
            await asyncio.sleep(max(0.0, start + number / WEBHOOKS_PER_SECOND - time.monotonic()))
            to = self.targets[number % len(self.targets)]
            [id_] = await bulk.add_due_deliveries(self.db, self.world.vault, to, 1)
            sent[f"msg_{id_.hex}"] = time.time()
            await self.doorbell.ring(to.endpoint)
        async with asyncio.timeout(60):
            while True:
                _, _, arrived = await self.read_counts()
                if sent.keys() <= arrived.keys():
                    return [arrived[id_] - at for id_, at in sent.items()]
                await asyncio.sleep(0.1)
