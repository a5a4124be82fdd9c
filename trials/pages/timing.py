"""Times of pages: after a restart of PostgreSQL with empty caches, and when everything is in memory."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks import processes
from fixtures import pages
from fixtures.world import World

COLD_LIMIT_MS = 300
WARM_LIMIT_MS = 100
WARM_READINGS = 5
UNOPENED_MS = 1e6
LARGE_TABLES = ("attempts", "deliveries", "mailboxes", "messages", "user_events", "users")
START_SECONDS = 60.0
SIGN_IN = "/admin/sign-in"
STATUSES = {200, 303}
CACHES = Path("/proc/sys/vm/drop_caches")


@dataclass(frozen=True, slots=True)
class PageTimes:
    """Milliseconds that a client on this machine waits for a page; `warm_ms` is a median."""

    page: str
    cold_ms: float
    warm_ms: float
    faults: list[str] = field(default_factory=list)


async def read_all(world: World, ids: Mapping[str, str], data: Path) -> list[PageTimes]:
    """Read every page cold, then warm. `data` is the folder of PostgreSQL, which is restarted."""
    addresses = pages.addresses(ids)
    async with serving(world) as client:
        cold = {}
        for page, address in addresses.items():
            await _empty_caches(client, data)
            cold[page] = await read(client, address)
        before = await _rows_scanned(world)
        warm = {page: await _warm(client, address) for page, address in addresses.items()}
        scanned = await _rows_scanned(world)
    found = [_judge(page, cold[page], warm[page]) for page in addresses]
    tables = [table for table in LARGE_TABLES if scanned[table] != before[table]]
    return [*found, PageTimes("all pages", 0, 0, [f"scanned: {', '.join(tables)}"])] if tables else found


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """Run an API as a process of its own; yields a client that is signed in to the dashboard and a portal."""
    port = processes.free_port()
    cookies = await pages.open_sessions(world.database_url)
    async with (
        processes.worker("api", world.settings, {"PORT": str(port), "HEALTH_PORT": "0"}),
        httpx.AsyncClient(base_url=f"http://localhost:{port}", cookies=cookies, timeout=60) as client,
    ):
        await _until_answered(client)
        yield client


async def read(client: httpx.AsyncClient, address: str) -> float:
    """Read a page; return the milliseconds, of a page that does not open those of UNOPENED_MS."""
    began = time.perf_counter()
    answer = await client.get(address)
    milliseconds = (time.perf_counter() - began) * 1000
    if answer.status_code not in STATUSES:
        print(f"{address}: {answer.status_code}", file=sys.stderr)
        return UNOPENED_MS
    return milliseconds


async def _warm(client: httpx.AsyncClient, address: str) -> float:
    return statistics.median([await read(client, address) for _ in range(WARM_READINGS)])


def _judge(page: str, cold: float, warm: float) -> PageTimes:
    faults = [f"{page}: cold {cold:.0f} ms"] if cold > COLD_LIMIT_MS else []
    faults += [f"{page}: warm {warm:.0f} ms"] if warm > WARM_LIMIT_MS else []
    return PageTimes(page, round(cold, 1), round(warm, 1), faults)


async def _empty_caches(client: httpx.AsyncClient, data: Path) -> None:
    """Restart PostgreSQL, and empty the cache of files where this process may; then sign-in answers again."""
    process = int((data / "postgres/postmaster.pid").read_text().split()[0])
    os.kill(process, signal.SIGINT)
    async with asyncio.timeout(START_SECONDS):
        while Path(f"/proc/{process}").exists():
            await asyncio.sleep(0.05)
    if os.access(CACHES, os.W_OK):
        os.sync()
        CACHES.write_text("3\n")
    await _until_answered(client)


async def _until_answered(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                if (await client.get(SIGN_IN)).status_code in STATUSES:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)


async def _rows_scanned(world: World) -> dict[str, int]:
    """Rows that sequential scans have read so far, by large table."""
    await asyncio.sleep(1.5)  # a backend reports at most once a second
    sql = "SELECT relname, seq_tup_read FROM pg_stat_user_tables WHERE relname = ANY($1)"
    return dict(await world.rows(sql, list(LARGE_TABLES)))
