"""Faults of one partner among others: backlogs and hanging endpoints must not delay healthy endpoints."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from fixtures import bulk
from superimap.doorbells.redis import EndpointDoorbell
from superimap.testing import Received
from trials.faults.fault_run import FaultRun

HANGING_WEBHOOKS_PER_SECOND = 100.0
"""Rate of webhooks to the endpoints that hang."""
MAX_SLOWDOWN, NOISE_MS = 2.0, 100.0
"""How much slower others may be during a fault, and the noise of the machine."""


async def hang(_: Received) -> int:
    """Accept the webhook and never answer."""
    await asyncio.Event().wait()
    return 200


async def f25_backlog_of_one(run: FaultRun) -> None:
    """One partner has a very large backlog, which does not delay the others' mails."""
    await run.start_workers()
    count = run.scale.mails * 200

    switch = "UPDATE endpoints SET disabled_at = CASE WHEN $2 THEN now() END WHERE id = $1"
    run.answers["/backlog"] = 202
    async with _pool(run) as db:
        [big] = await bulk.add_targets(db, run.world.vault, [run.sink.url("/backlog")])
        await db.execute(switch, big.endpoint, True)
        for _ in range(0, count, 1000):
            await bulk.add_due_deliveries(db, run.world.vault, big, min(1000, count))
        await db.execute("ANALYZE deliveries")

    async def strike() -> None:
        await run.world.rows(switch, big.endpoint, False)

    await measure_beside(run, strike)
    run.extra_figures["backlog"] = count
    left = await run.world.value(
        "SELECT count(*) FROM deliveries WHERE state = 'pending' AND content IS NOT NULL"
    )
    run.extra_figures["backlog_left"] = left
    if not left:
        run.broken.append("the backlog was gone before the others were measured")
    await run.world.rows("DELETE FROM deliveries WHERE message_id IS NULL")
    run.accepted[:] = [each for each in run.accepted if each.path != "/backlog"]


async def f26_hanging_partner(run: FaultRun) -> None:
    """All endpoints of one partner hang; it gets a fifth of the slots, and others are not delayed."""
    run.answers["/p0"] = hang
    await run.start_workers()

    async def strike() -> None:
        run.send(run.scale.mails // 2, users_of(run, 0))

    await measure_beside(run, strike)
    run.answers.clear()
    await run.wait_until_settled(within=420)


async def f26_many_hang(run: FaultRun) -> None:
    """A thousand endpoints of as many partners never answer, at a hundred webhooks per second."""

    urls = [run.sink.url(f"/hangs{number}") for number in range(run.scale.mails * 2)]
    run.answers |= {f"/hangs{number}": hang for number in range(len(urls))}
    await run.start_workers()
    async with _pool(run) as db:
        hanging = await bulk.add_targets(db, run.world.vault, urls)

        async def strike() -> None:
            begun, clock = time.monotonic(), time.monotonic
            for number in range(int(run.scale.away * HANGING_WEBHOOKS_PER_SECOND)):
                await asyncio.sleep(max(0.0, begun + number / HANGING_WEBHOOKS_PER_SECOND - clock()))
                each = hanging[number % len(hanging)]
                await bulk.add_due_deliveries(db, run.world.vault, each, 1)
                await queue.ring(each.endpoint)

        async with EndpointDoorbell(run.world.redis_url) as queue:
            await measure_beside(run, strike, seconds=run.scale.away)
    run.extra_figures["hanging"] = await run.world.value(
        "SELECT count(DISTINCT d.endpoint_id) FROM attempts a JOIN deliveries d ON d.id = a.delivery_id"
        " WHERE a.error = 'timeout'"
    )
    await run.world.rows("DELETE FROM deliveries WHERE message_id IS NULL")


async def measure_beside(
    run: FaultRun, strike: Callable[[], Awaitable[None]], *, seconds: float = 0.0
) -> None:
    """Measure the latency of the last partner's mails, first alone and then during the fault.

    Mails arrive one by one, during the fault for at least `seconds`.
    """
    users = users_of(run, run.partners - 1)
    spans = []
    for fault in (None, strike):
        striking = asyncio.ensure_future(fault()) if fault else None
        began = time.time()
        count = max(20, run.scale.mails // 5, int(seconds * 20) if fault else 0)
        await run.send_at_rate(count, rate=20, users=users)
        while any(run.injected.sent[sha1][1] in {f"tag{user}" for user in users}
                  for sha1 in run.injected.lost(run.accepted)):  # fmt: skip
            await asyncio.sleep(0.05)
        spans.append(run.p95(users, since=began))
        if striking is not None:
            await striking
    alone, beside = spans
    run.extra_figures |= {"p95_alone_ms": alone, "p95_beside_ms": beside}
    if run.scale.judges_time and beside > MAX_SLOWDOWN * alone + NOISE_MS:
        run.broken.append(f"I5: the others' 95th percentile went from {alone} to {beside} ms")


def users_of(run: FaultRun, partner: int) -> list[int]:
    return [user for user in range(run.scale.users) if user % run.partners == partner]


@asynccontextmanager
async def _pool(run: FaultRun) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(run.world.database_url, min_size=1, max_size=2) as pool:
        yield pool
