"""How does an engine run as our child: started, watched, started again, and never left behind?"""

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

from superimap.launch.engines.errors import EmbeddedError
from superimap.launch.engines.folders import account

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1
LONGEST_LOG = 5_000_000
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # never our secrets


@dataclass
class Engine:
    """A server in the foreground, as our child.

    `ready` tries one connection and says whether it worked; `clear` removes what a killed predecessor left
    behind, and is only called when no other process works in `folder`. `stops` are the signals to stop it by,
    each with its patience; `death` is what the kernel sends it when we are gone.
    """

    program: Path
    arguments: list[str]
    folder: Path
    log_file: Path
    ready: Callable[[], Awaitable[bool]]
    clear: Callable[[], None]
    stops: list[tuple[signal.Signals, float]]
    death: signal.Signals
    patience: float = 120.0
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """What it is called in logs, and by the kernel."""
        return self.program.name

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run it inside the block, and start it again should it end there."""
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
        end = time.monotonic() + self.patience
        while not await self.ready():
            if child.poll() is not None:
                raise EmbeddedError(self._failure(f"ended at once with code {child.returncode}"))
            if time.monotonic() > end:
                raise EmbeddedError(self._failure(f"was not ready within {self.patience:.0f} s"))
            await asyncio.sleep(0.02)

    async def _keep(self) -> None:
        """Start it again whenever it ends: what uses it reconnects by itself."""
        while True:
            if self._child is not None:
                await ended(self._child, every=0.2)
            log.error("an embedded engine ended, starting it again", extra={"engine": self.name})
            try:
                await self._start()
            except (EmbeddedError, OSError) as error:
                log.warning("an embedded engine does not start: %s", error, extra={"engine": self.name})
                await asyncio.sleep(2.0)

    async def _stop(self) -> None:
        """Stop it, gently at first; when this is cancelled too, at once."""
        child = self._child
        if child is None:
            return
        try:
            for how, patience in self.stops:
                child.send_signal(how)
                if await ended(child, within=patience, every=0.02):
                    return
            log.error("an embedded engine had to be killed", extra={"engine": self.name})
        finally:
            if child.poll() is None:
                child.send_signal(self.death)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(5.0)
            if child.poll() is None:
                child.kill()

    async def _wait_for_predecessor(self) -> None:
        """After a kill -9 the former engine's processes take a moment to go."""
        end = time.monotonic() + 10.0
        while pids := _at_work_in(self.folder, self.name):
            if time.monotonic() > end:
                raise EmbeddedError(
                    f"Another {self.name} (process {pids[0]}) works in {self.folder}; stop it "
                    f"(kill {pids[0]}), or choose another folder with --data."
                )
            await asyncio.sleep(0.05)

    def _failure(self, what: str) -> str:
        return f"{self.name} {what}. The end of {self.log_file}:\n{tail(self.log_file)}"


def spawn(
    program: Path, *arguments: str, folder: Path, log_file: Path, death: signal.Signals
) -> subprocess.Popen[bytes]:
    """Start a child that dies with us (Linux), as the engines' account, and logs to a file."""
    if log_file.exists() and log_file.stat().st_size > LONGEST_LOG:
        log_file.replace(log_file.with_suffix(".log.1"))
    who = account()
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    handle = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 - a program from a wheel, with our own arguments
            [str(program), *arguments],
            cwd=folder,
            env=environment | {"LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            user=who.uid if who else None,
            group=who.gid if who else None,
            extra_groups=[] if who else None,
            umask=0o077,
            start_new_session=True,  # Ctrl-C in a terminal is ours to pass on, after we have stopped using it
            preexec_fn=_die_with_us(death),  # noqa: PLW1509 - two system calls, nothing that takes a lock
        )
    finally:
        os.close(handle)


def _die_with_us(death: signal.Signals) -> Callable[[], None] | None:
    """What the child does before exec: ask the kernel for a signal when its parent is gone.

    Popen calls this after it has changed the user, which would undo it.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    us = os.getpid()

    def in_child() -> None:
        prctl(PR_SET_PDEATHSIG, int(death))
        if os.getppid() != us:  # we died before the kernel knew
            os._exit(1)

    return in_child


def _at_work_in(folder: Path, name: str) -> list[int]:
    """The processes called `name` whose working folder this is; always none where there is no /proc."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text().strip() == name and (process / "cwd").readlink() == folder:
                found.append(int(process.name))
        except OSError:
            continue
    return found


async def ended(child: subprocess.Popen[bytes], *, within: float = float("inf"), every: float = 0.02) -> bool:
    """Whether it ended in time; looked at now and then, which no event loop or thread can get wrong."""
    end = time.monotonic() + within
    while child.poll() is None and time.monotonic() < end:  # noqa: ASYNC110 - the kernel sets no Event
        await asyncio.sleep(every)
    return child.poll() is not None


def tail(log_file: Path, lines: int = 6) -> str:
    """The last lines of a log, for an error that a person reads."""
    try:
        return "\n".join(log_file.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(there is no log)"
