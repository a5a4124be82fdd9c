"""Two PostgreSQL clusters, a primary and a streaming standby, and the failover between them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg

from fixtures.engines import execute, open_folder
from superimap.launch import engines as embedded
from superimap.launch.engines import folders
from superimap.launch.engines.postgres import NAME, bin_folder
from superimap.launch.engines.process import spawn, wait_for_end
from trials.faults.engines import EngineControl, Engines, prepare

STANDBY_WAIT_SECONDS = 30.0
IS_STREAMING = "SELECT state = 'streaming' FROM pg_stat_replication"
IS_SYNCHRONOUS = "SELECT sync_state = 'sync' FROM pg_stat_replication"


@dataclass
class ReplicatedEngines(Engines):
    """Engines whose PostgreSQL has a standby. `postgres.url` names both; the one that can be written is used."""

    primary: EngineControl | None = None
    standby: EngineControl | None = None

    async def cut_replication(self) -> None:
        """Stop the standby from receiving: what the primary commits from now on is lost by a failover."""
        assert self.standby is not None
        await execute(self.standby.url, "ALTER SYSTEM SET primary_conninfo = ''")
        await execute(self.standby.url, "SELECT pg_reload_conf()")
        await wait_until(self.standby.url, "SELECT count(*) = 0 FROM pg_stat_wal_receiver")

    async def fail_over(self, *, after: float) -> None:
        """kill -9 of the primary, and promotion of the standby `after` seconds."""
        assert self.primary is not None and self.standby is not None
        await self.primary.kill()
        await asyncio.sleep(after)
        await execute(self.standby.url, "SELECT pg_promote()")


@contextlib.asynccontextmanager
async def replicated(both: Engines, *, synchronous: bool) -> AsyncIterator[Engines]:
    """The same Valkey, and a PostgreSQL with a standby; `synchronous`: a commit waits for it."""
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(open_folder("superimap-replicas-"))
        primary = _control(folder / "a")
        await primary.start()
        stack.push_async_callback(primary.stop)
        await prepare(primary)
        await _copy(primary.url, folder)
        standby = _control(folder / "b")
        await standby.start()
        stack.push_async_callback(standby.stop)
        await wait_until(primary.url, IS_STREAMING)
        if synchronous:
            await execute(primary.url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
            await execute(primary.url, "SELECT pg_reload_conf()")
            await wait_until(primary.url, IS_SYNCHRONOUS)
        yield ReplicatedEngines(_Named(_common_url(primary, standby)), both.valkey, None, 0, primary, standby)


class _Named(EngineControl):
    """The two clusters under one URL."""

    def __init__(self, url: str) -> None:
        self.url = url


def _control(data: Path) -> EngineControl:
    return EngineControl(lambda: embedded.postgres(data), data / "postgres")


async def _copy(url: str, folder: Path) -> None:
    """Copy the primary, with the settings of a standby."""
    data = folders.prepare_data_folder(folder / "b")
    folders.make_private(data / "postgres")
    source = f"host={_sockets(url)} port=5432 user={NAME}"
    child = spawn(
        bin_folder(folder / "a") / "pg_basebackup",
        *(
            "-D",
            str(data / "postgres"),
            "-d",
            source,
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        ),
        folder=data,
        log_file=data / "postgres.log",
        death=signal.SIGKILL,
    )
    await wait_for_end(child)
    if child.returncode:
        raise RuntimeError((data / "postgres.log").read_text())


def _sockets(url: str) -> str:
    return parse_qs(urlsplit(url).query)["host"][0]


def _common_url(*engines: EngineControl) -> str:
    hosts = ",".join(_sockets(each.url) for each in engines)
    return f"postgresql://{NAME}@/{NAME}?host={hosts}&port=5432,5432&target_session_attrs=read-write"


async def wait_until(url: str, query: str) -> None:
    """Wait until a query returns true."""
    async with asyncio.timeout(STANDBY_WAIT_SECONDS):
        db = await asyncpg.connect(url)
        try:
            while not await db.fetchval(query):
                await asyncio.sleep(0.05)
        finally:
            await db.close()
