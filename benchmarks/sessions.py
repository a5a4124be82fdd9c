"""What does an idle session cost? Memory, CPU to connect and to hold, and what a big mail leaves behind."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

from benchmarks.crowd import AT_ONCE, Crowd, gathered
from benchmarks.measure import Lag, allow_files, collect_ms, open_files, resident_kib

_WARM_UP = 20  # sessions that are not counted: imports, caches, the first arenas


async def run(*, count: int, tls: bool, seconds: float, mail_bytes: int) -> dict[str, Any]:
    """Open `count` sessions, hold them for `seconds`, let each read one mail, close; the figures."""
    allow_files(count)
    async with gathered(tls=tls) as crowd:
        await crowd.grow(_WARM_UP, within=60)
        await crowd.mail(5000, first=0, count=_WARM_UP, within=60)
        figures: dict[str, Any] = {"bench": "sessions", "count": count, "tls": tls, "seconds": seconds}
        memory, files = resident_kib(trim=True), open_files()
        figures |= {"mib_before": round(memory / 1024, 1), "files_before": files}
        figures |= await _connect(crowd, count)
        figures["kib_per_session"] = round((resident_kib() - memory) / count, 1)
        figures |= await _hold(crowd, seconds)
        if mail_bytes:
            await _mail(crowd, count, mail_bytes)
            figures["kib_after_mail"] = round((resident_kib() - memory) / count, 1)
        figures |= _collect()
        figures["dropped"] = crowd.dropped
        began = time.perf_counter()
        await crowd.leave()
        figures["close_s"] = round(time.perf_counter() - began, 2)
        gc.unfreeze()
        await _forget_timers()
        left, files_after = resident_kib(trim=True), open_files()
        figures |= {"mib_after": round(left / 1024, 1), "files_after": files_after}
        figures["mib_left"] = round((left - memory) / 1024, 1)
        figures["files_left"] = max(0, files_after - files + _WARM_UP)
    return figures


async def _connect(crowd: Crowd, count: int) -> dict[str, Any]:
    cpu, began = time.process_time(), time.perf_counter()
    with Lag() as lag:
        await crowd.grow(count, within=60 + count * 0.1)
        await asyncio.sleep(0.2)  # until the last are idle
    return {
        "connect_cpu_ms": round((time.process_time() - cpu) * 1000 / count, 3),
        "connect_s": round(time.perf_counter() - began, 2),
        "connect_lag_p99_ms": lag.p99_ms,
    }


async def _hold(crowd: Crowd, seconds: float) -> dict[str, Any]:
    cpu, dropped = time.process_time(), crowd.dropped
    with Lag() as lag:
        await asyncio.sleep(seconds)
    return {
        "idle_cpu_s": round(time.process_time() - cpu, 3),
        "lag_p99_ms": lag.p99_ms,
        "lag_longest_ms": lag.longest_ms,
        "dropped_idle": crowd.dropped - dropped,
    }


async def _mail(crowd: Crowd, count: int, size: int) -> None:
    """In waves: a server does not get a big mail for everybody in the same second."""
    for first in range(_WARM_UP, _WARM_UP + count, AT_ONCE):
        wave = min(AT_ONCE, _WARM_UP + count - first)
        await crowd.mail(size, first=first, count=wave, within=120)


async def _forget_timers() -> None:
    """The event loop keeps up to 100 cancelled timers until their time comes, unless there are more."""
    loop = asyncio.get_running_loop()
    for _ in range(200):
        loop.call_later(3600, int).cancel()
    await asyncio.sleep(0.1)


def _collect() -> dict[str, Any]:
    """The pause of a full garbage collection, and the same once all that lives is frozen, as in the idler."""
    gc.unfreeze()
    pause = collect_ms()
    gc.freeze()
    return {"gc_ms": round(pause, 1), "gc_frozen_ms": round(collect_ms(), 1)}
