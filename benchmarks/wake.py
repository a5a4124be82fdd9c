"""What does a mail cost a session that waits? From EXISTS until it has read the mail and is idle again."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from typing import Any

from benchmarks.crowd import Crowd, gathered
from benchmarks.measure import Lag, allow_files


async def run(*, count: int, sessions: int, tls: bool, mail_bytes: int, at_once: int) -> dict[str, Any]:
    """Wake one of `sessions` after another, `at_once` at the same time, `count` times; the figures."""
    allow_files(sessions)
    at_once = min(at_once, sessions)
    async with gathered(tls=tls) as crowd:
        await crowd.grow(sessions, within=60 + sessions * 0.1)
        await _wake(crowd, 100, sessions, mail_bytes, at_once)  # not counted: everything is warm then
        gc.collect()
        gc.freeze()
        cpu, kernel, began = time.process_time(), os.times().system, time.perf_counter()
        with Lag() as lag:
            read = await _wake(crowd, count, sessions, mail_bytes, at_once)
        spent, took = time.process_time() - cpu, time.perf_counter() - began
        kernel = os.times().system - kernel
        dropped = crowd.dropped
    return {
        "bench": "wake",
        "count": read,
        "sessions": sessions,
        "tls": tls,
        "at_once": at_once,
        "cpu_ms_per_wake": round(spent * 1000 / read, 3),
        "kernel_ms_per_wake": round(kernel * 1000 / read, 3),
        "wakes_per_cpu_s": round(read / spent),
        "wakes_per_s": round(read / took),
        "lag_p99_ms": lag.p99_ms,
        "dropped": dropped,
    }


async def _wake(crowd: Crowd, count: int, sessions: int, size: int, at_once: int) -> int:
    """Wake the sessions in turn, from the first; how many mails were read."""
    before = crowd.read
    for number in range(0, count, at_once):
        first = number % (sessions - at_once + 1)
        await crowd.mail(size, first=first, count=at_once, within=60)
        await asyncio.sleep(0)  # the last one is idle again
    return crowd.read - before
