"""The processes under test: started as an operator starts them, ended by the plan, and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from superimap.core.errors import SuperImapError
from superimap.launch.engines.process import die_with_parent
from superimap.launch.stress.plan import PlannedFault
from superimap.launch.stress.records import FaultRecord

COMMAND = (sys.executable, "-m", "superimap")
READY_SECONDS = 60.0
STOP_SECONDS = 40.0
RESTART_PAUSE_SECONDS = 1.0
"""Time after which a supervisor starts a killed process again."""

POLL_SECONDS = 0.1


class StressError(SuperImapError):
    """The stress test cannot run; the message says why and what to do."""


@dataclass(slots=True)
class Child:
    """One process under test; `life` counts its starts."""

    name: str
    life: int
    process: asyncio.subprocess.Process
    port: int
    is_wanted: bool = True
    """Whether it should be running: its end is unexpected as long as this holds."""

    @property
    def kind(self) -> str:
        """The subcommand of `superimap`."""
        return self.name.rstrip("0123456789")


class ProcessGroup:
    """Starts processes by name (`api1`, `idler2`), and ends and restarts them by the plan.

    `command` is what a subcommand is added to, `env` the environment of all processes, `log` the folder of their
    output.
    """

    def __init__(self, env: Mapping[str, str], log: Path, *, command: Sequence[str] = COMMAND) -> None:
        self._env = dict(env)
        self._log = log
        self._command = tuple(command)
        self._lives: dict[str, int] = {}
        self._watching: set[asyncio.Task[None]] = set()
        self.children: dict[str, Child] = {}
        self.unexpected_ends: list[str] = []

    async def start(self, name: str, **more: str) -> Child:
        """Start a process; it is not ready yet."""
        life = self._lives[name] = self._lives.get(name, 0) + 1
        port = free_port()
        env = {**self._env, "HEALTH_PORT": str(port), "DYNO": name, **more}
        kind = name.rstrip("0123456789")
        with (self._log / f"{name}.log").open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                kind,
                env=env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in a terminal reaches only us
                preexec_fn=die_with_parent(signal.SIGKILL),
            )
        child = self.children[name] = Child(name, life, process, port)
        task = asyncio.create_task(self._watch(child))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        return child

    async def _watch(self, child: Child) -> None:
        """Report a process that ends by itself, and start it again."""
        await child.process.wait()
        if child.is_wanted:
            self.unexpected_ends.append(f"{child.name} ended with code {child.process.returncode}")
            await asyncio.sleep(RESTART_PAUSE_SECONDS)
            await self.start(child.name)

    async def wait_until_ready(self, child: Child, *, within: float = READY_SECONDS) -> None:
        """Wait until /readyz answers 200. Raises StressError after `within` seconds, or if the process ends."""
        url = f"http://127.0.0.1:{child.port}/readyz"
        deadline = time.monotonic() + within
        timeout = aiohttp.ClientTimeout(total=3)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http:
            while time.monotonic() < deadline and child.process.returncode is None:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with http.get(url) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(POLL_SECONDS)
        log = self._log / f"{child.name}.log"
        raise StressError(f"{child.name} is not ready after {within:g} s; see {log}")

    async def inflict(self, fault: PlannedFault, started: float) -> FaultRecord:
        """Inflict a fault of a process now; returns it once the process runs again. `started` is Unix time."""
        child = self.children[fault.target]
        begun = time.time() - started
        match fault.kind:
            case "freeze":
                child.process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(fault.end - fault.start)
                child.process.send_signal(signal.SIGCONT)
            case "kill":
                await self._end(child, signal.SIGKILL)
                await asyncio.sleep(RESTART_PAUSE_SECONDS)
                await self.wait_until_ready(await self.start(child.name))
            case _:
                await self._end(child, signal.SIGTERM)
                await self.wait_until_ready(await self.start(child.name))
        return FaultRecord(fault.kind, fault.target, begun, time.time() - started)

    async def _end(self, child: Child, number: signal.Signals) -> None:
        child.is_wanted = False
        with contextlib.suppress(ProcessLookupError):
            child.process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await child.process.wait()
        except TimeoutError:
            self.unexpected_ends.append(f"{child.name} ignored {number.name}")
            child.process.kill()
            await child.process.wait()

    async def stop(self) -> None:
        """End all processes by kill -9: what they did has been observed."""
        running = [child for child in self.children.values() if child.process.returncode is None]
        for child in running:
            child.is_wanted = False
        await asyncio.gather(*(self._end(child, signal.SIGKILL) for child in running))
        for task in tuple(self._watching):
            task.cancel()


@contextlib.asynccontextmanager
async def running(
    env: Mapping[str, str], log: Path, *, command: Sequence[str] = COMMAND
) -> AsyncIterator[ProcessGroup]:
    """A group without processes; whatever it started has ended after the block."""
    group = ProcessGroup(env, log, command=command)
    try:
        yield group
    finally:
        await group.stop()


def free_port() -> int:
    """Return a port of the loopback address that nobody uses at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def base_environment() -> dict[str, str]:
    """Return the variables of our environment that any program needs."""
    kept = ("PATH", "HOME", "LANG", "TZ", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    return {name: os.environ[name] for name in kept if name in os.environ}
