"""A part of the benchmark `hostile`: rows and WAL that a server costs which claims UIDs and hands no mail over."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg

from benchmarks import hostile_server
from benchmarks.idler import NO_REDIS
from benchmarks.server_process import spawn_server
from fixtures import bulk
from fixtures.engines import empty_database
from superimap.core.config import Settings
from superimap.core.crypto import Vault, generate_key
from superimap.core.health import Readiness
from superimap.idler.main import serve

HOLD_SECONDS = 20.0
"""Time after which the figures are taken, whether the server is suspended or not."""


async def run(*, users: int) -> dict[str, Any]:
    """Watch `users` of a hostile server by a real idler for HOLD_SECONDS; returns the figures."""
    key = generate_key()
    async with empty_database(None) as url, spawn_server(hostile_server.main, 1) as (_, port):
        await bulk.add_users(url, users, vault=Vault.from_setting(key), port=port, tls=False)
        db = await asyncpg.connect(url)
        settings = Settings(
            environment="development",
            database_url=url,
            redis_url=NO_REDIS,
            encryption_key=key,
            max_sessions=users,
            logins_per_second=100,
        )
        try:
            return await _measure(db, settings, users)
        finally:
            await db.close()


async def _measure(db: asyncpg.Connection, settings: Settings, users: int) -> dict[str, Any]:
    start = await db.fetchval("SELECT pg_current_wal_insert_lsn()")
    stop, began, cpu = asyncio.Event(), time.perf_counter(), time.process_time()
    task = asyncio.create_task(serve(settings, stop, Readiness()))
    try:
        await asyncio.wait({task}, timeout=HOLD_SECONDS)
        took, spent = time.perf_counter() - began, time.process_time() - cpu
        wal = await db.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1)", start)
        rows = await db.fetchval("SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM deliveries)")
    finally:
        stop.set()
        await task
    return {
        "users": users,
        "suspended": await _suspended(db),
        "seconds": round(took, 1),
        "cpu_share": round(spent / took, 3),
        "rows_per_user": round(rows / users),
        "wal_kib_per_user": round(float(wal) / 1024 / users, 1),
    }


async def _suspended(db: asyncpg.Connection) -> int:
    return int(await db.fetchval("SELECT count(*) FROM users WHERE status = 'suspended'"))
