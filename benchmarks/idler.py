"""The benchmark `idler`: a real idler on a real PostgreSQL that watches many users."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from benchmarks import certificate, mail_server
from benchmarks.measure import BenchError, Lag, allow_files, resident_kib
from benchmarks.metric_values import metric_value
from fixtures import bulk
from fixtures.engines import empty_database
from superimap.core.config import Settings
from superimap.core.crypto import Vault, generate_key
from superimap.core.health import Readiness
from superimap.idler.main import serve
from superimap.imap import transport

NO_REDIS = "redis://127.0.0.1:1/0"
"""Never connected to, because no mail arrives."""


async def run(
    *, users: int, tls: bool, seconds: float, logins_per_second: float, database: str | None
) -> dict[str, Any]:
    """Start one idler with `users`, hold their sessions for `seconds`, and stop it; returns the figures."""
    allow_files(users)
    async with _watching(users, tls, logins_per_second, database) as (settings, stop, task):
        figures: dict[str, Any] = {"bench": "idler", "users": users, "tls": tls}
        memory, cpu, began = resident_kib(), time.process_time(), time.perf_counter()
        with Lag() as lag:
            await _until(
                lambda: metric_value("superimap_sessions_watching") >= users, task, within=60 + users * 0.1
            )
        figures |= {
            "logins_per_second": settings.logins_per_second,
            "ramp_s": round(time.perf_counter() - began, 2),
            "ramp_cpu_ms_per_user": round((time.process_time() - cpu) * 1000 / users, 3),
            "ramp_lag_p99_ms": lag.p99_ms,
            "kib_per_user": round((resident_kib() - memory) / users, 1),
            "mib": round(resident_kib() / 1024, 1),
        }
        figures |= await _hold(seconds)
        cpu, began = time.process_time(), time.perf_counter()
        stop.set()
        await task
        figures |= {
            "stop_s": round(time.perf_counter() - began, 2),
            "stop_cpu_s": round(time.process_time() - cpu, 2),
            "logins": int(metric_value("superimap_logins_total")),
        }
    return figures


@contextlib.asynccontextmanager
async def _watching(
    users: int, tls: bool, logins_per_second: float, database: str | None
) -> AsyncIterator[tuple[Settings, asyncio.Event, asyncio.Task[None]]]:
    """Start an idler with its servers and users; yields its settings, its stop event and its task."""
    authority, chain = certificate.make_certificate()
    async with empty_database(database) as url, mail_server.running(chain if tls else None) as server:
        if tls:
            transport.shared_tls_context().load_verify_locations(cadata=authority)
        key = generate_key()
        await bulk.add_users(url, users, vault=Vault.from_setting(key), port=server.port, tls=tls)
        settings = Settings(
            environment="development",
            database_url=url,
            redis_url=NO_REDIS,
            encryption_key=key,
            max_sessions=users,
            logins_per_second=logins_per_second,
            reconcile_interval=1.0,  # ten times as often as by default, to measure the cost of a round
        )
        stop = asyncio.Event()
        task = asyncio.create_task(serve(settings, stop, Readiness()))
        try:
            yield settings, stop, task
        finally:
            stop.set()
            await asyncio.gather(task, return_exceptions=True)


async def _hold(seconds: float) -> dict[str, Any]:
    """Measure a time in which all sessions idle and only rounds and heartbeats happen."""
    count, spent = metric_value("superimap_round_seconds_count"), metric_value("superimap_round_seconds_sum")
    cpu, began = time.process_time(), time.perf_counter()
    with Lag() as lag:
        await asyncio.sleep(seconds)
    rounds = metric_value("superimap_round_seconds_count") - count
    return {
        "hold_cpu_percent": round(100 * (time.process_time() - cpu) / (time.perf_counter() - began), 2),
        "hold_lag_p99_ms": lag.p99_ms,
        "round_ms": round((metric_value("superimap_round_seconds_sum") - spent) * 1000 / max(rounds, 1), 2),
    }


async def _until(condition: Callable[[], bool], task: asyncio.Task[None], *, within: float) -> None:
    try:
        async with asyncio.timeout(within):
            while not condition():
                if task.done():
                    task.result()
                    raise BenchError("the idler ended too early")
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise BenchError(f"not all users were watched within {within:g} s") from None
