"""Services as processes of their own, and the CPU time of each process and engine."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
from redis.asyncio import Redis

from benchmarks.measure import BenchError
from superimap.core.config import Settings

WORKERS = ("idler", "dispatcher")
CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class CpuMeter:
    """Reads the CPU time of our services, and of engines that run on this machine."""

    def __init__(self, settings: Settings, services: Mapping[str, int], groups: Mapping[str, int]) -> None:
        self._settings = settings
        self._services = services
        self._groups = groups

    async def cpu(self) -> dict[str, float]:
        """CPU seconds so far by process, with our own children; an engine on another machine is left out."""
        spent = {each.name: _own(each.pid or 0) for each in multiprocessing.active_children()}
        spent |= {name: _own(pid) for name, pid in self._services.items()}
        spent |= {name: _reaped(pid) + sum(map(_own, members(pid))) for name, pid in self._groups.items()}
        if postgres := await self._postgres():
            children = [pid for pid in _processes() if _parent(pid) == postgres]
            spent["postgres"] = _own(postgres) + _reaped(postgres) + sum(map(_own, children))
        if valkey := await self._valkey():
            spent["valkey"] = _own(valkey)
        return spent

    def pss_kib(self) -> dict[str, int]:
        """Memory of our services in KiB, with their shares of what they share (PSS of smaps_rollup)."""
        return {name: _pss_kib(pid) for name, pid in self._services.items()}

    async def _postgres(self) -> int | None:
        db = await asyncpg.connect(self._settings.database_url)
        try:
            backend: int = await db.fetchval("SELECT pg_backend_pid()")
            return _parent(backend) if _name(backend) == "postgres" else None
        finally:
            await db.close()

    async def _valkey(self) -> int | None:
        async with Redis.from_url(self._settings.redis_url) as redis:
            pid = int((await redis.info("server"))["process_id"])
        return pid if _name(pid).startswith(("valkey", "redis")) else None


@asynccontextmanager
async def workers(settings: Settings, groups: Mapping[str, int]) -> AsyncIterator[CpuMeter]:
    """Run an idler and a dispatcher on these engines, with default settings otherwise.

    `groups` are further processes to measure: leaders of process groups, by name.
    """
    async with AsyncExitStack() as stack:
        services = {name: await stack.enter_async_context(worker(name, settings)) for name in WORKERS}
        yield CpuMeter(settings, services, groups)


@asynccontextmanager
async def worker(
    name: str, settings: Settings, variables: Mapping[str, str] | None = None, *, may_end: bool = False
) -> AsyncIterator[int]:
    """Run `superimap NAME` on these engines, with default settings otherwise; yields its process id.

    `variables` are further variables of its environment. With `may_end`, its end before that of the block is no
    error.
    """
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "ENVIRONMENT": "development",
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "ENCRYPTION_KEY": settings.encryption_key.get_secret_value(),
        "LOG_LEVEL": "warning",
        **(variables or {}),
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "superimap", name, env=environment, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        yield child.pid
        if child.returncode is not None and not may_end:
            raise BenchError(f"the {name} ended with code {child.returncode}; see its error above")
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


def members(group: int, *, name: str = "") -> list[int]:
    """Ids of the processes in a process group, or of those called `name`."""
    return [
        pid
        for pid in _processes()
        if (fields := _stat(pid)) and int(fields[2]) == group and name in {"", _name(pid)}
    ]


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process so far, exact to the nanosecond (the first number of /proc/PID/schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def private_kib(pid: int) -> int:
    """Memory in KiB that a process shares with no other (Private_* of smaps_rollup)."""
    return sum(int(fields[1]) for fields in _memory(pid) if fields[0] in {"Private_Clean:", "Private_Dirty:"})


def free_port() -> int:
    """A port of the loopback address that nobody uses at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _processes() -> list[int]:
    return [int(each.name) for each in Path("/proc").glob("[0-9]*")]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name (proc(5)), starting with the state; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def _own(pid: int) -> float:
    return sum(map(int, _stat(pid)[11:13])) / CLOCK_TICKS_PER_SECOND


def _reaped(pid: int) -> float:
    return sum(map(int, _stat(pid)[13:15])) / CLOCK_TICKS_PER_SECOND


def _pss_kib(pid: int) -> int:
    return next(int(fields[1]) for fields in _memory(pid) if fields[0] == "Pss:")


def _memory(pid: int) -> list[list[str]]:
    """The lines of /proc/PID/smaps_rollup. Raises BenchError where there is none."""
    try:
        return [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    except FileNotFoundError:
        raise BenchError("the memory of processes needs /proc/PID/smaps_rollup, which Linux has") from None
