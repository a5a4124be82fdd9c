"""The benchmark `sessions`: memory and CPU of idle sessions, and the memory left by a big mail."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

from benchmarks.measure import Lag, allow_files, collect_ms, open_files, resident_kib
from benchmarks.session_group import MAX_CONNECTS_AT_ONCE, SessionGroup, open_group

_WARM_UP_SESSIONS = 20  # not measured: they load modules, caches and the first memory arenas


async def run(*, count: int, tls: bool, seconds: float, mail_bytes: int) -> dict[str, Any]:
    """Open `count` sessions, hold them, let each read one mail, and close them; returns the figures."""
    allow_files(count)
    async with open_group(tls=tls) as group:
        await group.open_sessions(_WARM_UP_SESSIONS, within=60)
        await group.deliver(5000, first=0, count=_WARM_UP_SESSIONS, within=60)
        figures: dict[str, Any] = {"bench": "sessions", "count": count, "tls": tls, "seconds": seconds}
        memory, files = resident_kib(trim=True), open_files()
        figures |= {"mib_before": round(memory / 1024, 1), "files_before": files}
        figures |= await _connect(group, count)
        figures["kib_per_session"] = round((resident_kib() - memory) / count, 1)
        figures |= await _hold(group, seconds)
        if mail_bytes:
            await _mail(group, count, mail_bytes)
            figures["kib_after_mail"] = round((resident_kib() - memory) / count, 1)
        figures |= _collect()
        figures["dropped"] = group.dropped
        began = time.perf_counter()
        await group.close()
        figures["close_s"] = round(time.perf_counter() - began, 2)
        gc.unfreeze()
        await _forget_timers()
        left, files_after = resident_kib(trim=True), open_files()
        figures |= {"mib_after": round(left / 1024, 1), "files_after": files_after}
        figures["mib_left"] = round((left - memory) / 1024, 1)
        figures["files_left"] = max(0, files_after - files + _WARM_UP_SESSIONS)
    return figures


async def _connect(group: SessionGroup, count: int) -> dict[str, Any]:
    cpu, began = time.process_time(), time.perf_counter()
    with Lag() as lag:
        await group.open_sessions(count, within=60 + count * 0.1)
        await asyncio.sleep(0.2)  # until the last ones idle
    return {
        "connect_cpu_ms": round((time.process_time() - cpu) * 1000 / count, 3),
        "connect_s": round(time.perf_counter() - began, 2),
        "connect_lag_p99_ms": lag.p99_ms,
    }


async def _hold(group: SessionGroup, seconds: float) -> dict[str, Any]:
    cpu, dropped = time.process_time(), group.dropped
    with Lag() as lag:
        await asyncio.sleep(seconds)
    return {
        "idle_cpu_s": round(time.process_time() - cpu, 3),
        "lag_p99_ms": lag.p99_ms,
        "lag_longest_ms": lag.longest_ms,
        "dropped_idle": group.dropped - dropped,
    }


async def _mail(group: SessionGroup, count: int, size: int) -> None:
    """Deliver the mail in waves: no server gets a big mail for all its users in the same second."""
    for first in range(_WARM_UP_SESSIONS, _WARM_UP_SESSIONS + count, MAX_CONNECTS_AT_ONCE):
        wave = min(MAX_CONNECTS_AT_ONCE, _WARM_UP_SESSIONS + count - first)
        await group.deliver(size, first=first, count=wave, within=120)


async def _forget_timers() -> None:
    """Make the event loop drop cancelled timers; it keeps up to 100 of them until they are due."""
    loop = asyncio.get_running_loop()
    for _ in range(200):
        loop.call_later(3600, int).cancel()
    await asyncio.sleep(0.1)


def _collect() -> dict[str, Any]:
    """The pause of a full garbage collection, before and after `gc.freeze`, which the idler uses."""
    gc.unfreeze()
    pause = collect_ms()
    gc.freeze()
    return {"gc_ms": round(pause, 1), "gc_frozen_ms": round(collect_ms(), 1)}
