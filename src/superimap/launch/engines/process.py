"""An engine as a child process: started, watched, restarted, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from superimap.launch.engines.folders import EmbeddedError, engine_account

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1
MAX_LOG_BYTES = 5_000_000
RESTART_SECONDS = 2.0
PREDECESSOR_WAIT_SECONDS = 10.0
KILL_WAIT_SECONDS = 5.0
INHERITED_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # never our secrets


@dataclass
class EngineProcess:
    """A server that runs in the foreground as a child process.

    `ready` tries one connection and returns whether it worked. `clear` removes what a killed predecessor left
    behind; it is called only while no other process works in `folder`. `stops` are the signals that stop the
    engine, each with the seconds to wait for its end. `death` is the signal that the kernel sends it when this
    process ends.
    """

    program: Path
    arguments: list[str]
    folder: Path
    log_file: Path
    ready: Callable[[], Awaitable[bool]]
    clear: Callable[[], None]
    stops: list[tuple[signal.Signals, float]]
    death: signal.Signals
    start_seconds: float = 120.0
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """The name of the program, in logs and in /proc."""
        return self.program.name

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the engine for the length of the block, and restart it if it ends."""
        try:
            await self._start()
            keeper = asyncio.create_task(self._keep(), name=f"keep {self.name}")
            try:
                yield
            finally:
                keeper.cancel()
                await asyncio.wait([keeper])
        finally:
            await self._stop()

    async def _start(self) -> None:
        await self._wait_for_predecessor()
        self.clear()
        self._child = child = spawn(
            self.program, *self.arguments, folder=self.folder, log_file=self.log_file, death=self.death
        )
        end = time.monotonic() + self.start_seconds
        while not await self.ready():
            if child.poll() is not None:
                raise EmbeddedError(self._failure(f"ended at once with code {child.returncode}"))
            if time.monotonic() > end:
                raise EmbeddedError(self._failure(f"was not ready within {self.start_seconds:.0f} s"))
            await asyncio.sleep(0.02)

    async def _keep(self) -> None:
        """Restart the engine whenever it ends; its clients reconnect by themselves."""
        while True:
            if self._child is not None:
                await wait_for_end(self._child, every=0.2)
            log.error("an embedded engine ended; restarting it", extra={"engine": self.name})
            try:
                await self._start()
            except Exception as error:  # nobody else would restart it
                log.warning("an embedded engine could not be started: %s", error, extra={"engine": self.name})
                await asyncio.sleep(RESTART_SECONDS)

    async def _stop(self) -> None:
        """Stop the engine by its stop signals, then by its death signal; at once if this is cancelled."""
        child = self._child
        if child is None:
            return
        try:
            for stop, seconds in self.stops:
                child.send_signal(stop)
                if await wait_for_end(child, within=seconds, every=0.02):
                    return
            log.error("an embedded engine ignored its stop signals; killing it", extra={"engine": self.name})
        finally:
            if child.poll() is None:
                child.send_signal(self.death)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(KILL_WAIT_SECONDS)
            if child.poll() is None:
                child.kill()

    async def _wait_for_predecessor(self) -> None:
        """Wait for processes of an engine that was killed; they take a moment to end."""
        end = time.monotonic() + PREDECESSOR_WAIT_SECONDS
        while pids := _at_work_in(self.folder, self.name):
            if time.monotonic() > end:
                raise EmbeddedError(
                    f"Another {self.name} (process {pids[0]}) works in {self.folder}; stop it "
                    f"(kill {pids[0]}), or choose another folder with --data."
                )
            await asyncio.sleep(0.05)

    def _failure(self, what: str) -> str:
        return f"{self.name} {what}. The last lines of {self.log_file}:\n{tail(self.log_file)}"


def spawn(
    program: Path, *arguments: str, folder: Path, log_file: Path, death: signal.Signals
) -> subprocess.Popen[bytes]:
    """Start a child as the engines' account that logs to a file; on Linux it ends with this process."""
    if log_file.exists() and log_file.stat().st_size > MAX_LOG_BYTES:
        log_file.replace(log_file.with_suffix(".log.1"))
    own = engine_account()
    environment = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    handle = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 - a program from a wheel, with our own arguments
            [str(program), *arguments],
            cwd=folder,
            env=environment | {"LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            user=own.uid if own else None,
            group=own.gid if own else None,
            extra_groups=[] if own else None,
            umask=0o077,
            start_new_session=True,  # Ctrl-C in a terminal reaches only us: we stop using the engine first
            preexec_fn=die_with_parent(death),  # noqa: PLW1509 - two system calls, which take no lock
        )
    finally:
        os.close(handle)


def die_with_parent(death: signal.Signals) -> Callable[[], None] | None:
    """A function for the child to call before exec: it asks the kernel for a signal when the parent ends.

    Popen calls it after changing the user, which would undo the request.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def in_child() -> None:
        prctl(PR_SET_PDEATHSIG, int(death))
        if os.getppid() != parent:  # the parent ended before the kernel had the request
            os._exit(1)

    return in_child


def _at_work_in(folder: Path, name: str) -> list[int]:
    """Ids of the processes called `name` that work in this folder; none where there is no /proc."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text().strip() == name and (process / "cwd").readlink() == folder:
                found.append(int(process.name))
        except OSError:
            continue
    return found


async def wait_for_end(
    child: subprocess.Popen[bytes], *, within: float = float("inf"), every: float = 0.02
) -> bool:
    """Wait for the child; returns whether it ended in time.

    It polls, because that depends on no event loop's child watcher and on no thread.
    """
    end = time.monotonic() + within
    while child.poll() is None and time.monotonic() < end:  # noqa: ASYNC110 - the kernel sets no Event
        await asyncio.sleep(every)
    return child.poll() is not None


def tail(log_file: Path, lines: int = 6) -> str:
    """The last lines of a log file, for an error message."""
    try:
        return "\n".join(log_file.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(there is no log)"
