"""How fast does a dispatcher deliver, and at what price? And does anybody notice an endpoint that hangs?

One dispatcher in this process, many endpoints of as many partners, and one receiver in a process of its own.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg

from benchmarks import receiver
from benchmarks.receiver import HANGS, Ask
from fixtures import bulk, engines
from fixtures.bulk import Target
from superimap.core.config import Settings
from superimap.core.crypto import Vault
from superimap.dispatcher.lanes.limits import MAX_UNPROVEN_POSTS
from superimap.dispatcher.main import DispatcherCounts, serve
from superimap.dispatcher.timings import DispatcherTimings
from superimap.doorbells.redis import EndpointDoorbell

RATE = 100.0
"""Webhooks a second that the others get, one by one, while an endpoint hangs."""


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
    """Deliver a backlog of `count` to so many endpoints, whose answers take `answer_ms`; the figures.

    With `hanging`, another endpoint that never answers then gets so many, and the others a steady stream for
    `seconds`, before and beside it. Engines that are not given are brought along.
    """
    async with (
        engines.settings_for_engines(database_url, redis_url) as settings,
        receiver.running(answer_ms / 1000) as (base, ask),
        asyncpg.create_pool(settings.database_url, min_size=1, max_size=2) as db,
    ):
        vault = Vault.from_setting(settings.encryption_key.get_secret_value())
        owed = await bulk.add_targets(db, vault, [f"{base}{number}" for number in range(endpoints)])
        ids = [
            id_
            for each in owed
            for id_ in await bulk.add_due_deliveries(db, vault, each, -(-count // endpoints))
        ]
        await db.execute("ANALYZE")
        took, spent = await _deliver(settings, len(ids))
        unique, total, _ = await ask()
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
            [bad] = await bulk.add_targets(db, vault, [f"{base}{HANGS.removeprefix('/')}"])
            crowd = _Crowd(db, vault, settings, owed, bad, seconds)
            found |= await crowd.measure(hanging, ask)
    return found


class _Crowd:
    """The others' latency, from the commit to the receiver, alone and beside an endpoint that hangs."""

    def __init__(
        self,
        db: asyncpg.Pool,
        vault: Vault,
        settings: Settings,
        good: list[Target],
        bad: Target,
        seconds: float,
    ) -> None:
        self._db = db
        self._vault = vault
        self._settings = settings
        self._good = good
        self._bad = bad
        self._seconds = seconds

    async def measure(self, hanging: int, ask: Ask) -> dict[str, Any]:
        stop, counts = asyncio.Event(), DispatcherCounts()
        brief = DispatcherTimings(post_grace=0.5)  # nobody waits for those that hang
        serving = asyncio.create_task(serve(self._settings, stop, counts=counts, timings=brief))
        try:
            async with EndpointDoorbell(self._settings.redis_url) as queue:
                await self._stream(queue, ask)  # warm
                alone = await self._stream(queue, ask)
                await self._let_hang(hanging)
                await queue.ring(self._bad.endpoint)
                async with asyncio.timeout(10):
                    while counts.lanes.in_flight < MAX_UNPROVEN_POSTS:  # noqa: ASYNC110 - no Event
                        await asyncio.sleep(0.01)
                beside = await self._stream(queue, ask)
        finally:
            stop.set()
            await serving
        return {
            "hanging": hanging,
            "p95_alone_ms": round(alone * 1000, 1),
            "p95_beside_ms": round(beside * 1000, 1),
            "p95_ratio": round(beside / alone, 2),
            "samples": int(self._seconds * RATE),
        }

    async def _let_hang(self, count: int) -> None:
        """Owe so many to the endpoint that hangs. Until all are there it is disabled: nothing begins sooner."""
        switch = "UPDATE endpoints SET disabled_at = CASE WHEN $2 THEN now() END WHERE id = $1"
        await self._db.execute(switch, self._bad.endpoint, True)
        for start in range(0, count, 1000):
            await bulk.add_due_deliveries(self._db, self._vault, self._bad, min(1000, count - start))
        await self._db.execute("ANALYZE deliveries")
        await self._db.execute(switch, self._bad.endpoint, False)

    async def _stream(self, queue: EndpointDoorbell, ask: Ask) -> float:
        """One webhook at a time to each in turn; the 95th percentile of how long they took, in seconds."""
        sent: dict[str, float] = {}
        start, clock = time.monotonic(), asyncio.get_running_loop().time
        for number in range(int(self._seconds * RATE)):
            await asyncio.sleep(max(0.0, start + number / RATE - clock()))
            to = self._good[number % len(self._good)]
            [id_] = await bulk.add_due_deliveries(self._db, self._vault, to, 1)
            sent[f"msg_{id_.hex}"] = time.time()
            await queue.ring(to.endpoint)
        async with asyncio.timeout(60):
            while True:
                _, _, arrived = await ask()
                if sent.keys() <= arrived.keys():
                    break
                await asyncio.sleep(0.1)
        waits = sorted(arrived[id_] - at for id_, at in sent.items())
        return waits[int(len(waits) * 0.95)]


async def _deliver(settings: Settings, count: int) -> tuple[float, float]:
    """Seconds and CPU seconds that a dispatcher takes until so many are delivered, and its stop."""
    stop, counts = asyncio.Event(), DispatcherCounts()
    started, cpu = time.perf_counter(), time.process_time()
    serving = asyncio.create_task(serve(settings, stop, counts=counts))
    while counts.attempts.delivered < count and not serving.done():  # noqa: ASYNC110 - counters set no Event
        await asyncio.sleep(0.01)
    took, spent = time.perf_counter() - started, time.process_time() - cpu
    stop.set()
    await serving
    return took, spent
