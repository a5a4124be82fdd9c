"""The benchmark `quiet`: what an installation writes to PostgreSQL's log while no mail arrives."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from benchmarks import mail_server
from benchmarks.measure import BenchError, allow_files
from benchmarks.metric_values import metric_value
from fixtures import bulk
from fixtures.engines import settings_for_engines
from superimap.core.config import Settings
from superimap.core.crypto import Vault
from superimap.core.health import Readiness
from superimap.dispatcher.main import serve as dispatch
from superimap.idler.main import serve as idle

DAY_SECONDS = 86_400
_TABLES = "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del AS rows FROM pg_stat_user_tables"


async def run(*, users: int, seconds: float, settle: float, of_users: int) -> dict[str, Any]:
    """Let one idler watch `users` and one dispatcher run; measure for `seconds`, `settle` after the logins.

    The sessions renew their IDLE every 240 to 300 s, so `seconds` should be a multiple of 300, which is also the
    time between two checkpoints. The bytes of a day are for `of_users`, with as many idlers as that needs.
    """
    allow_files(users)
    async with settings_for_engines(None, None) as engines, mail_server.running(None) as server:
        settings = engines.model_copy(update={"max_sessions": users, "logins_per_second": 500.0})
        vault = Vault.from_setting(settings.encryption_key.get_secret_value())
        await bulk.add_users(settings.database_url, users, vault=vault, port=server.port, tls=False)
        async with _running(settings, users), asyncpg.create_pool(settings.database_url, min_size=1) as db:
            await asyncio.sleep(settle)
            before, rows, cpu = await _position(db), await _rows(db), time.process_time()
            await asyncio.sleep(seconds)
            cpu = time.process_time() - cpu
            written, after = await _position(db) - before, await _rows(db)
    share = DAY_SECONDS / seconds * of_users / users
    return {
        "bench": "quiet",
        "users": users,
        "seconds": seconds,
        "cpu_percent": round(100 * cpu / seconds, 2),
        "wal_kib": round(written / 1024, 1),
        "rows_written": {name: count for name in after if (count := after[name] - rows.get(name, 0))},
        "of_users": of_users,
        "of_idlers": round(of_users / users, 1),
        "wal_gb_per_day": round(written * share / 1e9, 3),
    }


@contextlib.asynccontextmanager
async def _running(settings: Settings, users: int) -> AsyncIterator[None]:
    """Run an idler and a dispatcher; yields once all users are watched."""
    stop = asyncio.Event()
    tasks = [
        asyncio.create_task(idle(settings, stop, Readiness())),
        asyncio.create_task(dispatch(settings, stop)),
    ]
    try:
        async with asyncio.timeout(60 + users * 0.1):
            while metric_value("superimap_sessions_watching") < users:
                for task in tasks:
                    if task.done():
                        task.result()
                        raise BenchError("a process ended too early")
                await asyncio.sleep(0.1)
        yield
    except TimeoutError:
        raise BenchError("not all users were watched in time") from None
    finally:
        stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _position(db: asyncpg.Pool) -> int:
    """Return the bytes that the log has had until now."""
    return int(await db.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))


async def _rows(db: asyncpg.Pool) -> dict[str, int]:
    """Return the rows inserted, updated and deleted in each table until now."""
    return {row["relname"]: row["rows"] for row in await db.fetch(_TABLES)}
