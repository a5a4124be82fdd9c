"""Samples of processes and of the database while a stress test runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from pathlib import Path

import aiohttp
import asyncpg
from redis.asyncio import Redis

from superimap.doorbells.arq_worker import QUEUE_NAME
from superimap.launch.stress.journal import RESOURCES, STORES, Journal
from superimap.launch.stress.processes import Child, ProcessGroup
from superimap.launch.stress.records import ProcessSample, StoreSample

PROCESS_INTERVAL_SECONDS = 2.0
SLOW_INTERVAL_SECONDS = 10.0
"""Interval of samples that cost the sampled process or the database something."""

_TASKS = re.compile(r"^superimap_tasks (\S+)$", re.MULTILINE)

_SIZES = """
    SELECT (SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
            WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace) AS table_bytes,
           pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS wal_bytes
"""


class Sampler:
    """Samples of a fleet, kept and written to journals. `started` is the Unix time of moment 0."""

    def __init__(self, fleet: ProcessGroup, folder: Path, *, database_url: str, redis_url: str) -> None:
        self.processes: list[ProcessSample] = []
        self.stores: list[StoreSample] = []
        self.started = time.time()
        self._fleet = fleet
        self._database_url = database_url
        self._redis_url = redis_url
        self._folder = folder
        self._resources = Journal(folder, RESOURCES)
        self._store_sizes = Journal(folder, STORES)

    async def run(self) -> None:
        """Sample until cancelled."""
        slow_due = 0.0
        timeout = aiohttp.ClientTimeout(total=2)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http:
            while True:
                is_slow = (now := time.monotonic()) >= slow_due
                if is_slow:
                    slow_due = now + SLOW_INTERVAL_SECONDS
                    with contextlib.suppress(OSError, asyncpg.PostgresError):
                        await self.sample_stores()
                for child in tuple(self._fleet.children.values()):
                    tasks = await _count_tasks(http, child) if is_slow else None
                    self._sample(child, tasks)
                await asyncio.sleep(PROCESS_INTERVAL_SECONDS)

    def _sample(self, child: Child, tasks: int | None) -> None:
        found = read_process(child.process.pid)
        if found is None or child.process.returncode is not None:
            return
        at = round(time.time() - self.started, 3)
        sample = ProcessSample(at, child.name, child.life, *found, tasks)
        self.processes.append(sample)
        self._resources.write(
            at, child.name, child.life, f"{found[0]:.2f}", found[1], f"{found[2]:.2f}", tasks or ""
        )

    async def sample_stores(self) -> None:
        """Take one sample of the database and the queue."""
        db = await asyncpg.connect(self._database_url)
        try:
            sizes = await db.fetchrow(_SIZES)
        finally:
            await db.close()
        async with Redis.from_url(self._redis_url) as redis:
            queued = int(await redis.zcard(QUEUE_NAME))
        at = round(time.time() - self.started, 3)
        sample = StoreSample(at, int(sizes["table_bytes"]), int(sizes["wal_bytes"]), queued)
        self.stores.append(sample)
        self._store_sizes.write(at, sample.table_bytes, sample.wal_bytes, queued)

    def close(self) -> None:
        """Write the journals."""
        self._resources.close()
        self._store_sizes.close()


def read_process(pid: int) -> tuple[float, int, float] | None:
    """Return memory in MiB, open descriptors and CPU seconds of a process (proc(5)); None if it has ended."""
    folder = Path(f"/proc/{pid}")
    try:
        pages = int((folder / "statm").read_text().split()[1])
        threads = (folder / "task").iterdir()
        nanoseconds = sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
        descriptors = len(os.listdir(folder / "fd"))  # noqa: PTH208 - names only
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, descriptors, nanoseconds / 1e9


async def _count_tasks(http: aiohttp.ClientSession, child: Child) -> int | None:
    """The metric `superimap_tasks` of a process; None if it does not answer or lacks it."""
    try:
        async with http.get(f"http://127.0.0.1:{child.port}/metrics") as answer:
            found = _TASKS.search(await answer.text())
    except (aiohttp.ClientError, TimeoutError):
        return None
    return int(float(found[1])) if found else None
