"""Part of the benchmark `sessions`: what a further watched folder costs an idler, in memory and CPU time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from typing import Any

import asyncpg

from benchmarks.mail_server import mail_of
from benchmarks.measure import BenchError, allow_files, resident_kib
from benchmarks.metric_values import metric_value
from benchmarks.server_process import spawn_server
from fixtures import bulk
from fixtures.engines import settings_for_engines
from fixtures.world import eventually
from superimap.core.config import Settings
from superimap.core.crypto import Vault
from superimap.core.health import Readiness
from superimap.idler.main import serve
from superimap.testing.imap.server import ImapServer

_MAIL_BYTES = 5000
_QUICK_TAKEOVER = {"heartbeat_interval": 0.5, "heartbeat_expiry": 3.0, "reconcile_interval": 1.0}
_READ = "SELECT count(*) FROM messages"


async def run(*, count: int, folders: int, seconds: float) -> dict[str, Any]:
    """Run an idler with `count` users that watch INBOX, then one with `folders` folders each; compare them.

    The mail server offers NOTIFY. The folders beside INBOX are quiet: no mail arrives in them.
    """
    allow_files(count)
    async with (
        settings_for_engines(None, None) as engines,
        spawn_server(_mail_server, count, folders) as (pipe, port),
    ):
        settings = engines.model_copy(update={"logins_per_second": 500.0, **_QUICK_TAKEOVER})
        vault = Vault.from_setting(settings.encryption_key.get_secret_value())
        await bulk.add_users(settings.database_url, count, vault=vault, port=port, tls=False)
        measured = [
            await _measure(settings, pipe, count=count, folders=number, seconds=seconds)
            for number in (1, folders)
        ]
    one, several = measured
    return {
        "folders": folders,
        "kib_per_folder": round((several["kib"] - one["kib"]) / count / (folders - 1), 2),
        **{
            f"{name}_{label}": figures[name]
            for label, figures in (("one_folder", one), ("all_folders", several))
            for name in ("idle_cpu_s", "cpu_ms_per_mail")
        },
    }


async def _measure(
    settings: Settings, mail_server: Connection, *, count: int, folders: int, seconds: float
) -> dict[str, float]:
    """Have a process of its own watch the folders; returns its memory and CPU time, idle and for a mail each."""
    names = ["INBOX", *map(_name, range(1, folders))]
    async with asyncpg.create_pool(settings.database_url, min_size=1) as db:
        await db.execute(
            "UPDATE users SET folders = $1, credentials_version = credentials_version + 1, "
            "status = 'connecting', retry_at = NULL",
            names,
        )
        known = await db.fetchval(_READ)
        async with _idler(settings, count) as idler:
            kib, _ = await idler.ask()
            idle_cpu = await idler.spend(seconds)
            cpu = (await idler.ask())[1]
            mail_server.send(("INBOX", count))

            async def are_read() -> bool:
                return bool(await db.fetchval(_READ) >= known + count)

            await eventually(are_read, within=60 + count * 0.1)
            spent = (await idler.ask())[1] - cpu
    return {"kib": kib, "idle_cpu_s": round(idle_cpu, 3), "cpu_ms_per_mail": round(1000 * spent / count, 3)}


class _Idler:
    """An idler in a process of its own."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    async def ask(self) -> tuple[float, float]:
        """Return its growth in KiB since it started, and its CPU seconds."""
        self._pipe.send("figures")
        found: tuple[float, float] = await asyncio.to_thread(self._pipe.recv)
        return found

    async def spend(self, seconds: float) -> float:
        """Return the CPU seconds that it spends in this time."""
        before = (await self.ask())[1]
        await asyncio.sleep(seconds)
        return (await self.ask())[1] - before


@contextlib.asynccontextmanager
async def _idler(settings: Settings, count: int) -> AsyncIterator[_Idler]:
    async with spawn_server(_watch, settings, count) as (pipe, _):
        yield _Idler(pipe)


def _watch(pipe: Connection, settings: Settings, count: int) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_watch_all(pipe, settings, count))


async def _watch_all(pipe: Connection, settings: Settings, count: int) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    before = resident_kib(trim=True)
    task = asyncio.create_task(serve(settings, stop, Readiness()))
    async with asyncio.timeout(60 + count * 0.2):
        while metric_value("superimap_sessions_watching") < count:
            if task.done():
                task.result()
                raise BenchError("the idler ended too early")
            await asyncio.sleep(0.1)
    await asyncio.sleep(1)  # until the last ones idle

    def answer() -> None:
        try:
            pipe.recv()
        except EOFError:
            loop.remove_reader(pipe.fileno())
            stop.set()
            return
        pipe.send((resident_kib(trim=True) - before, time.process_time()))

    loop.add_reader(pipe.fileno(), answer)
    pipe.send(None)
    await task


def _name(number: int) -> str:
    return f"Projects/folder {number}"


def _mail_server(pipe: Connection, count: int, folders: int) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve_mail(pipe, count, folders))


async def _serve_mail(pipe: Connection, count: int, folders: int) -> None:
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    async with ImapServer(log_size=0) as server:
        server.capabilities.append("NOTIFY")
        for user in range(1, count + 1):
            account = server.add_account(f"user{user}", "secret")
            for number in range(1, folders):
                account.create(_name(number))

        def deliver() -> None:
            try:
                folder, users = pipe.recv()
            except EOFError:
                done.set()
                return
            for user in range(1, users + 1):
                server.deliver(f"user{user}", mail_of(_MAIL_BYTES), folder)

        loop.add_reader(pipe.fileno(), deliver)
        pipe.send(server.port)
        await done.wait()
