"""The benchmark `deliver`: throughput and CPU of a dispatcher, and the effect of an endpoint that hangs.

One dispatcher runs in this process, with many endpoints of as many partners, and one receiver in a process of
its own.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg

from benchmarks import receiver
from benchmarks.receiver import HANGING_PATH, ReadCounts
from fixtures import bulk, engines
from fixtures.bulk import Target
from superimap.core.config import Settings
from superimap.core.crypto import Vault
from superimap.dispatcher.lanes.limits import MAX_UNPROVEN_POSTS
from superimap.dispatcher.main import DispatcherCounts, serve
from superimap.dispatcher.timings import DispatcherTimings
from superimap.doorbells.redis import EndpointDoorbell

WEBHOOKS_PER_SECOND = 100.0
"""Rate of single webhooks to the other endpoints while one endpoint hangs."""


async def run(
    *,
    count: int = 10_000,
    endpoints: int = 100,
    answer_ms: float = 50,
    hanging: int = 0,
    seconds: float = 10,
    database_url: str | None = None,
    redis_url: str | None = None,
) -> dict[str, Any]:
    """Deliver a backlog of `count` webhooks to endpoints that answer after `answer_ms`; returns the figures.

    With `hanging`, another endpoint that never answers then gets that many webhooks, and the others get a steady
    stream for `seconds`, before and during it. Engines that are not given are started for the benchmark.
    """
    async with (
        engines.settings_for_engines(database_url, redis_url) as settings,
        receiver.running(answer_ms / 1000) as (base, read_counts),
        asyncpg.create_pool(settings.database_url, min_size=1, max_size=2) as db,
    ):
        vault = Vault.from_setting(settings.encryption_key.get_secret_value())
        targets = await bulk.add_targets(db, vault, [f"{base}{number}" for number in range(endpoints)])
        ids = [
            id_
            for each in targets
            for id_ in await bulk.add_due_deliveries(db, vault, each, -(-count // endpoints))
        ]
        await db.execute("ANALYZE")
        took, spent = await _deliver(settings, len(ids))
        unique, total, _ = await read_counts()
        found: dict[str, Any] = {
            "bench": "deliver",
            "webhooks": len(ids),
            "endpoints": endpoints,
            "answer_ms": answer_ms,
            "webhooks_per_s": round(len(ids) / took),
            "cpu_ms_per_webhook": round(spent * 1000 / len(ids), 3),
            "lost": len(ids) - unique,
            "duplicates": total - unique,
        }
        if hanging:
            [target] = await bulk.add_targets(db, vault, [f"{base}{HANGING_PATH.removeprefix('/')}"])
            comparison = _LatencyComparison(db, vault, settings, targets, target, seconds)
            found |= await comparison.measure(hanging, read_counts)
    return found


class _LatencyComparison:
    """Latency from commit to receiver for healthy endpoints, without and with an endpoint that hangs."""

    def __init__(
        self,
        db: asyncpg.Pool,
        vault: Vault,
        settings: Settings,
        healthy: list[Target],
        hanging: Target,
        seconds: float,
    ) -> None:
        self._db = db
        self._vault = vault
        self._settings = settings
        self._healthy = healthy
        self._hanging = hanging
        self._seconds = seconds

    async def measure(self, hanging: int, read_counts: ReadCounts) -> dict[str, Any]:
        stop, counts = asyncio.Event(), DispatcherCounts()
        brief = DispatcherTimings(post_grace=0.5)  # do not wait for POSTs that hang
        serving = asyncio.create_task(serve(self._settings, stop, counts=counts, timings=brief))
        try:
            async with EndpointDoorbell(self._settings.redis_url) as queue:
                await self._stream(queue, read_counts)  # warm
                alone = await self._stream(queue, read_counts)
                await self._insert_hanging(hanging)
                await queue.ring(self._hanging.endpoint)
                async with asyncio.timeout(10):
                    while counts.lanes.in_flight < MAX_UNPROVEN_POSTS:  # noqa: ASYNC110 - no Event
                        await asyncio.sleep(0.01)
                beside = await self._stream(queue, read_counts)
        finally:
            stop.set()
            await serving
        return {
            "hanging": hanging,
            "p95_alone_ms": round(alone * 1000, 1),
            "p95_beside_ms": round(beside * 1000, 1),
            "p95_ratio": round(beside / alone, 2),
            "samples": int(self._seconds * WEBHOOKS_PER_SECOND),
        }

    async def _insert_hanging(self, count: int) -> None:
        """Insert deliveries to the hanging endpoint, which is disabled until all of them are there."""
        switch = "UPDATE endpoints SET disabled_at = CASE WHEN $2 THEN now() END WHERE id = $1"
        await self._db.execute(switch, self._hanging.endpoint, True)
        for start in range(0, count, 1000):
            await bulk.add_due_deliveries(self._db, self._vault, self._hanging, min(1000, count - start))
        await self._db.execute("ANALYZE deliveries")
        await self._db.execute(switch, self._hanging.endpoint, False)

    async def _stream(self, queue: EndpointDoorbell, read_counts: ReadCounts) -> float:
        """Send single webhooks to the endpoints in turn; returns the 95th percentile of latency, in seconds."""
        sent: dict[str, float] = {}
        start, clock = time.monotonic(), asyncio.get_running_loop().time
        for number in range(int(self._seconds * WEBHOOKS_PER_SECOND)):
            await asyncio.sleep(max(0.0, start + number / WEBHOOKS_PER_SECOND - clock()))
            to = self._healthy[number % len(self._healthy)]
            [id_] = await bulk.add_due_deliveries(self._db, self._vault, to, 1)
            sent[f"msg_{id_.hex}"] = time.time()
            await queue.ring(to.endpoint)
        async with asyncio.timeout(60):
            while True:
                _, _, arrived = await read_counts()
                if sent.keys() <= arrived.keys():
                    break
                await asyncio.sleep(0.1)
        waits = sorted(arrived[id_] - at for id_, at in sent.items())
        return waits[int(len(waits) * 0.95)]


async def _deliver(settings: Settings, count: int) -> tuple[float, float]:
    """Run a dispatcher until `count` are delivered; returns seconds and CPU seconds, without its stop."""
    stop, counts = asyncio.Event(), DispatcherCounts()
    started, cpu = time.perf_counter(), time.process_time()
    serving = asyncio.create_task(serve(settings, stop, counts=counts))
    while counts.attempts.delivered < count and not serving.done():  # noqa: ASYNC110 - counters set no Event
        await asyncio.sleep(0.01)
    took, spent = time.perf_counter() - started, time.process_time() - cpu
    stop.set()
    await serving
    return took, spent
