"""PostgreSQL and Valkey that a fault may kill, pause and restart at the same address."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from fixtures.engines import TEMPLATE, create_database, database, execute, open_folder
from superimap.launch import engines as embedded


class EngineControl:
    """Starts, kills and pauses one engine; `url` stays the same over kill() and start()."""

    def __init__(self, run: Callable[[], AbstractAsyncContextManager[str]], folder: Path) -> None:
        self._run = run
        self._folder = folder
        self._stack = AsyncExitStack()
        self.url = ""

    async def start(self) -> None:
        """Start the engine, and wait until it answers."""
        self.url = await self._stack.enter_async_context(self._run())

    async def stop(self) -> None:
        """Stop the engine cleanly, if it runs."""
        await self._stack.aclose()

    async def kill(self) -> None:
        """kill -9 of all its processes; it is down until start()."""
        self._signal(signal.SIGKILL)
        await self._stack.aclose()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def erase(self) -> None:
        """Delete its folder; only while it does not run."""
        shutil.rmtree(self._folder)

    def _signal(self, number: signal.Signals) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (process / "cwd").readlink() == self._folder:
                    os.kill(int(process.name), number)


@dataclass
class Engines:
    """Both engines, with a database for each fault."""

    postgres: EngineControl
    valkey: EngineControl
    disk: Path | None = None  # only if PostgreSQL has a small one of its own
    _made: int = 0

    async def database(self) -> str:
        """Create a database with our schema; returns its URL."""
        self._made += 1
        name = f"fault_{self._made}"
        await execute(self.postgres.url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return database(self.postgres.url, name)


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Engines]:
    """Run engines in `folder`, with fsync as in production."""
    small_queue = {"max_notify_queue_pages": "64"}  # so that a fault can fill it
    postgres = EngineControl(
        lambda: embedded.postgres(folder / "pg", settings=small_queue), folder / "pg" / "postgres"
    )
    valkey = EngineControl(lambda: embedded.valkey(folder / "vk"), folder / "vk" / "valkey")
    try:
        await asyncio.gather(postgres.start(), valkey.start())
        await prepare(postgres)
        yield Engines(postgres, valkey)
    finally:
        for engine in (postgres, valkey):
            engine.resume()
            await engine.stop()


@contextlib.asynccontextmanager
async def on_small_disk(both: Engines, megabytes: int) -> AsyncIterator[Engines]:
    """The same Valkey, and a PostgreSQL on a tmpfs of this size in MiB, which only root can mount."""
    with open_folder("superimap-small-") as folder, _mounted(folder, megabytes):
        postgres = EngineControl(lambda: embedded.postgres(folder / "pg"), folder / "pg" / "postgres")
        try:
            await postgres.start()
            await prepare(postgres)
            yield Engines(postgres, both.valkey, folder)
        finally:
            await postgres.stop()


@contextlib.contextmanager
def _mounted(folder: Path, megabytes: int) -> Iterator[None]:
    options = f"size={megabytes}m,mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


async def prepare(postgres: EngineControl) -> None:
    """Create the template of the faults' databases."""
    await create_database(postgres.url, TEMPLATE)
