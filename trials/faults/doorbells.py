"""Faults of Valkey: emptied, killed, hanging, full, read-only, with another password."""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis

from superimap.doorbells.redis import EndpointDoorbell
from trials.faults.fault_run import FaultRun

MAX_SWEEPER_P95_MS = 2000.0  # 95th percentile while only the sweeper finds deliveries


async def f07_emptied(run: FaultRun) -> None:
    """FLUSHALL five times while mail arrives."""
    await run.start_workers()
    async with Redis.from_url(run.world.redis_url) as redis:
        for _ in range(5):
            pouring = asyncio.create_task(run.send_at_rate(run.scale.mails // 5))
            await run.wait_for_webhooks(len(run.injected.sent) + 1)
            await redis.flushall()
            await pouring
    await _check_latency(run)


async def f08_killed(run: FaultRun) -> None:
    """kill -9, then a restart with no data, while mail arrives."""
    await run.start_workers()
    run.send(run.scale.users)
    await run.engines.valkey.kill()
    run.engines.valkey.erase()
    try:
        await run.send_at_rate(run.scale.mails, rate=run.scale.mails / run.scale.away)
        await run.wait_for_webhooks(len(run.injected.sent))
    finally:
        await run.engines.valkey.start()
    await run.send_at_rate(run.scale.users)
    await _check_latency(run)
    _check_all_alive(run)


async def f09_hangs(run: FaultRun) -> None:
    """SIGSTOP: Valkey accepts connections and answers nothing. No process waits for it."""
    await run.start_workers()
    run.engines.valkey.pause()
    try:
        pouring = asyncio.create_task(
            run.send_at_rate(run.scale.mails, rate=max(5.0, run.scale.mails / run.scale.away))
        )
        async with EndpointDoorbell(run.world.redis_url) as queue:
            started = time.perf_counter()
            is_rung = await queue.ring(1)
            run.extra_figures["ring_ms"] = round((time.perf_counter() - started) * 1000, 1)
        if is_rung or (run.scale.judges_time and run.extra_figures["ring_ms"] > 500):
            run.broken.append(f"a ring took {run.extra_figures['ring_ms']} ms")
        await pouring
        await run.wait_for_webhooks(len(run.injected.sent))
    finally:
        run.engines.valkey.resume()
    await run.send_at_rate(run.scale.users)
    _check_all_alive(run)


async def f10_refuses(run: FaultRun) -> None:
    """Valkey is full, then read-only, then has an unknown password."""
    await run.start_workers()
    share = run.scale.mails // 3
    async with Redis.from_url(run.world.redis_url) as redis:
        for strike, heal in (
            (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
            (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
            (("CONFIG", "SET", "requirepass", "unknown"), ("CONFIG", "SET", "requirepass", "")),
        ):
            await redis.execute_command(*strike)
            await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            try:
                await run.send_at_rate(share, rate=max(20.0, share / run.scale.away))
                await run.wait_for_webhooks(len(run.injected.sent))
            finally:
                await redis.execute_command(*heal)
    await run.send_at_rate(run.scale.users)
    _check_all_alive(run)


async def _check_latency(run: FaultRun) -> None:
    await run.wait_until_settled()
    if run.scale.judges_time and (p95 := run.p95(range(run.scale.users))) > MAX_SWEEPER_P95_MS:
        run.broken.append(f"the 95th percentile is {p95} ms")


def _check_all_alive(run: FaultRun) -> None:
    ended = [each.name for each in run.processes if each.popen.poll() is not None]
    if ended:
        run.broken.append(f"I8: {', '.join(ended)} ended")
