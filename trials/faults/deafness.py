"""Doorbells that ring and are not heard: clocks that differ, and a consumer that eats jobs."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from redis.asyncio import Redis

from tests.support.processes import Process
from tests.support.queue_eater import jobs_eaten
from trials.faults.fault_run import FaultRun
from trials.faults.refusals import check_kept

SKEW_SECONDS = 30
MAX_SKEWED_P95_MS = 1000.0
MAX_DEAF_P95_MS = 2000.0
SHIFTED_CLOCK = Path(__file__).with_name("shifted_clock")


async def f17_clocks_differ(run: FaultRun) -> None:
    """The idler's clock is 30 s ahead of the dispatcher's, then as much behind. No webhook is late."""
    for ahead in (SKEW_SECONDS, -SKEW_SECONDS):
        idler = await run.start("idler", PYTHONPATH=str(SHIFTED_CLOCK), CLOCK_SHIFT_SECONDS=str(ahead))
        dispatcher = await run.start("dispatcher")
        await run.ready(idler)
        await run.wait_until_watched()
        await run.send_at_rate(run.scale.mails // 2, rate=50)
        await run.wait_until_settled()
        for process in (idler, dispatcher):
            process.terminate()
        for process in (idler, dispatcher):
            await process.ended()
    if run.scale.judges_time and (p95 := run.p95(range(run.scale.users))) > MAX_SKEWED_P95_MS:
        run.broken.append(f"the 95th percentile is {p95} ms")


async def f18_jobs_eaten(run: FaultRun) -> None:
    """Another consumer of the queue eats all jobs; then the user of Redis may not read the queue."""
    _, dispatcher = await run.start_workers()
    connects = run.imap.connects
    await run.send_at_rate(run.scale.mails // 5)
    async with Redis.from_url(run.world.redis_url) as redis:
        async with jobs_eaten(run.world.redis_url):
            await run.send_at_rate(run.scale.mails // 5 * 2, rate=max(20.0, run.scale.mails / run.scale.away))
            await run.wait_for_webhooks(len(run.injected.sent))
            if not await _readyz_says(run, dispatcher, "doorbells:"):
                run.broken.append("/readyz does not say that doorbells are not heard")
        await redis.execute_command("ACL", "SETUSER", "default", "-zrange")
        try:
            await run.send_at_rate(run.scale.mails // 5 * 2, rate=max(20.0, run.scale.mails / run.scale.away))
            await run.wait_for_webhooks(len(run.injected.sent))
        finally:
            await redis.execute_command("ACL", "SETUSER", "default", "+@all")
    if run.scale.judges_time and (p95 := run.p95(range(run.scale.users))) > MAX_DEAF_P95_MS:
        run.broken.append(f"the 95th percentile is {p95} ms")
    if not await _readyz_says(run, dispatcher, "doorbells:", is_expected=False):
        run.broken.append("/readyz says for ever that doorbells are not heard")
    check_kept(run, connects)


async def _readyz_says(run: FaultRun, process: Process, text: str, *, is_expected: bool = True) -> bool:
    """Whether /readyz contains a text, or no longer, within 20 seconds: ten probes are recent."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(20):
            while (text in await run.readiness(process)) is not is_expected:
                await asyncio.sleep(0.1)
            return True
    return False
