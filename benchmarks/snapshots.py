"""Snapshots of CPU time, WAL and memory of a running installation, and the differences between them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from benchmarks.processes import CpuMeter, private_kib
from superimap.core.config import Settings

SAMPLE_SECONDS = 0.5
MAIL_TABLES = ("messages", "deliveries", "attempts")


@dataclass(frozen=True, slots=True)
class MeasuredPhase:
    """What a phase took: CPU seconds by process, and bytes of WAL; and the memory of services at its end."""

    seconds: float
    cpu: dict[str, float]
    wal_bytes: float
    pss_mib: dict[str, float]

    def without(self, other: MeasuredPhase) -> MeasuredPhase:
        """Return this phase without what `other` would have taken in the same time."""
        share = self.seconds / other.seconds
        cpu = {name: max(0.0, spent - share * other.cpu.get(name, 0.0)) for name, spent in self.cpu.items()}
        return MeasuredPhase(
            self.seconds, cpu, max(0.0, self.wal_bytes - share * other.wal_bytes), self.pss_mib
        )


class Recorder:
    """Records phases of an installation, and the most connections that its processes had, by application name."""

    def __init__(self, settings: Settings, meter: CpuMeter) -> None:
        self._url = settings.database_url
        self._meter = meter
        self.connections: dict[str, int] = {}

    async def record(self, work: Awaitable[object]) -> MeasuredPhase:
        """Record what is spent until `work` is done. The checkpoint before it makes pages be logged alike."""
        await self._run("CHECKPOINT")
        began, cpu, wal = time.monotonic(), await self._meter.cpu(), await self._wal_bytes()
        await work
        took, after = time.monotonic() - began, await self._meter.cpu()
        spent = {name: seconds - cpu.get(name, 0.0) for name, seconds in after.items()}
        memory = {name: kib / 1024 for name, kib in self._meter.pss_kib().items()}
        return MeasuredPhase(took, spent, await self._wal_bytes() - wal, memory)

    async def mail_bytes(self) -> float:
        """Return the size of the rows and indexes of mails, after vacuuming, without contents still to be sent."""
        return await self._size("pg_relation_size(oid) + pg_indexes_size(oid)", MAIL_TABLES)

    async def other_bytes(self) -> float:
        """Return the size of all other tables with their indexes, after vacuuming."""
        tables = await self._fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
            "AND relname <> ALL($1::text[])",
            MAIL_TABLES,
        )
        return await self._size("pg_total_relation_size(oid)", [row[0] for row in tables])

    async def until_vouched(self, users: int) -> None:
        """Return once each user has its place in the vouches of its idler, which is written once."""
        registered = "SELECT count(*) AS users FROM users WHERE vouched_by IS NOT NULL"
        while (await self._fetch(registered))[0]["users"] < users:  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(1)

    async def backend_mib(self) -> float:
        """Return the mean memory of a connection of ours that no other shares, such as its caches."""
        rows = await self._fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name IN ('idler', 'dispatcher', 'api')"
        )
        found = [private_kib(row[0]) for row in rows]
        return sum(found) / len(found) / 1024

    @contextlib.asynccontextmanager
    async def counting_connections(self) -> AsyncIterator[None]:
        """Inside the block, note the most connections of each application name."""
        counting = asyncio.create_task(self._count_connections())
        try:
            yield
        finally:
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)

    async def _count_connections(self) -> None:
        db = await asyncpg.connect(self._url)
        try:
            while True:
                for name, count in await db.fetch(
                    "SELECT application_name, count(*) FROM pg_stat_activity "
                    "WHERE backend_type = 'client backend' GROUP BY 1"
                ):
                    self.connections[name] = max(count, self.connections.get(name, 0))
                await asyncio.sleep(SAMPLE_SECONDS)
        finally:
            db.terminate()

    async def _size(self, expression: str, tables: Sequence[str]) -> float:
        for table in tables:
            await self._run(f'VACUUM "{table}"')
        query = f"SELECT sum({expression}) FROM pg_class WHERE relname = ANY($1::text[])"  # noqa: S608 - constants
        return float((await self._fetch(query, tables))[0][0])

    async def _wal_bytes(self) -> float:
        return float((await self._fetch("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))[0][0])

    async def _run(self, statement: str) -> None:
        db = await asyncpg.connect(self._url)
        try:
            await db.execute(statement)
        finally:
            await db.close()

    async def _fetch(self, query: str, *arguments: object) -> list[Any]:
        db = await asyncpg.connect(self._url)
        try:
            return list(await db.fetch(query, *arguments))
        finally:
            await db.close()
