"""Faults of Valkey: emptied, killed, hanging, full, read-only, with another password."""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis

from superimap.doorbells.redis import EndpointDoorbell
from trials.faults.bed import Bed

LATE_MS = 2000.0  # the 95th percentile while the sweeper does the ringing


async def f07_emptied(bed: Bed) -> None:
    """FLUSHALL five times, while mail pours in."""
    await bed.both()
    async with Redis.from_url(bed.world.redis_url) as redis:
        for _ in range(5):
            pouring = asyncio.create_task(bed.pour(bed.scale.mails // 5))
            await bed.arrived(len(bed.injected.sent) + 1)
            await redis.flushall()
            await pouring
    await _in_time(bed)


async def f08_killed(bed: Bed) -> None:
    """kill -9, away, back empty; mail goes on all the while."""
    await bed.both()
    bed.send(bed.scale.users)
    await bed.engines.valkey.kill()
    bed.engines.valkey.forget()
    try:
        await bed.pour(bed.scale.mails, rate=bed.scale.mails / bed.scale.away)
        await bed.arrived(len(bed.injected.sent))
    finally:
        await bed.engines.valkey.start()
    await bed.pour(bed.scale.users)
    await _in_time(bed)
    _all_alive(bed)


async def f09_hangs(bed: Bed) -> None:
    """SIGSTOP: it takes connections and answers nothing. Nobody waits for it."""
    await bed.both()
    bed.engines.valkey.pause()
    try:
        pouring = asyncio.create_task(
            bed.pour(bed.scale.mails, rate=max(5.0, bed.scale.mails / bed.scale.away))
        )
        async with EndpointDoorbell(bed.world.redis_url) as queue:
            started = time.perf_counter()
            is_rung = await queue.ring(1)
            bed.more["ring_ms"] = round((time.perf_counter() - started) * 1000, 1)
        if is_rung or (bed.scale.judges_time and bed.more["ring_ms"] > 500):
            bed.broken.append(f"a ring took {bed.more['ring_ms']} ms")
        await pouring
        await bed.arrived(len(bed.injected.sent))
    finally:
        bed.engines.valkey.resume()
    await bed.pour(bed.scale.users)
    _all_alive(bed)


async def f10_refuses(bed: Bed) -> None:
    """Full, then read-only, then with a password that nobody knows."""
    await bed.both()
    share = bed.scale.mails // 3
    async with Redis.from_url(bed.world.redis_url) as redis:
        for strike, heal in (
            (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
            (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
            (("CONFIG", "SET", "requirepass", "unknown"), ("CONFIG", "SET", "requirepass", "")),
        ):
            await redis.execute_command(*strike)
            await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            try:
                await bed.pour(share, rate=max(20.0, share / bed.scale.away))
                await bed.arrived(len(bed.injected.sent))
            finally:
                await redis.execute_command(*heal)
    await bed.pour(bed.scale.users)
    _all_alive(bed)


async def _in_time(bed: Bed) -> None:
    await bed.settled()
    if bed.scale.judges_time and (p95 := bed.p95(range(bed.scale.users))) > LATE_MS:
        bed.broken.append(f"the 95th percentile is {p95} ms")


def _all_alive(bed: Bed) -> None:
    ended = [each.name for each in bed.processes if each.popen.poll() is not None]
    if ended:
        bed.broken.append(f"I8: {', '.join(ended)} ended")
