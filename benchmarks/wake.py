"""The benchmark `wake`: the cost of a mail to an idle session, from EXISTS until it idles again."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from typing import Any

from benchmarks.measure import Lag, allow_files
from benchmarks.session_group import SessionGroup, open_group


async def run(*, count: int, sessions: int, tls: bool, mail_bytes: int, at_once: int) -> dict[str, Any]:
    """Wake the sessions in turn, `at_once` at a time, `count` times; returns the figures."""
    allow_files(sessions)
    at_once = min(at_once, sessions)
    async with open_group(tls=tls) as group:
        await group.open_sessions(sessions, within=60 + sessions * 0.1)
        await _wake(group, 100, sessions, mail_bytes, at_once)  # not measured: it warms caches up
        gc.collect()
        gc.freeze()
        cpu, kernel, began = time.process_time(), os.times().system, time.perf_counter()
        with Lag() as lag:
            read = await _wake(group, count, sessions, mail_bytes, at_once)
        spent, took = time.process_time() - cpu, time.perf_counter() - began
        kernel = os.times().system - kernel
        dropped = group.dropped
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


async def _wake(group: SessionGroup, count: int, sessions: int, size: int, at_once: int) -> int:
    """Wake the sessions in turn, from the first; returns the number of mails read."""
    before = group.read
    for number in range(0, count, at_once):
        first = number % (sessions - at_once + 1)
        await group.deliver(size, first=first, count=at_once, within=60)
        await asyncio.sleep(0)  # the last session idles again
    return group.read - before
