"""SuperIMAP's processes, started by the command line as an operator starts them; they can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fixtures.world import World
from tests.support.leaks import watch

SUPERIMAP = Path(sys.executable).with_name("superimap")

QUICK = {
    "HEARTBEAT_INTERVAL": "0.5",
    "HEARTBEAT_EXPIRY": "2",
    "RECONCILE_INTERVAL": "1",
    "ENVIRONMENT": "development",
    "LOG_LEVEL": "debug",
    "DRAIN_SECONDS": "0",
}


def environment(world: World, **more: str) -> dict[str, str]:
    """The environment variables of a process that works in this world."""
    return {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": world.database_url,
        "REDIS_URL": world.redis_url,
        "ENCRYPTION_KEY": world.encryption_key,
        **QUICK,
        **more,
    }


@dataclass
class Process:
    """A running command, whose output goes to the file `log`."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    _final: str | None = None

    @property
    def output(self) -> str:
        """The output so far, also after the end of the process."""
        return self._final if self._final is not None else self.log.read_text(errors="replace")

    def close(self) -> None:
        """Keep the output, because its file is deleted."""
        self._final = self.output

    def kill(self) -> None:
        """kill -9."""
        self.popen.kill()
        self.popen.wait(10)

    def terminate(self) -> None:
        """Send SIGTERM, as an orchestrator does."""
        self.popen.send_signal(signal.SIGTERM)

    async def ended(self, *, within: float = 30.0) -> int:
        """Wait for the end; returns the exit code."""
        return await asyncio.to_thread(self.popen.wait, within)

    async def says(self, text: str, *, within: float = 30.0) -> None:
        """Wait until the output contains `text`."""
        try:
            async with asyncio.timeout(within):
                while text not in self.output:
                    if self.popen.poll() is not None and text not in self.output:
                        raise AssertionError(
                            f"{self.name} ended with {self.popen.returncode}:\n{self.output}"
                        )
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{self.name} never said {text!r}:\n{self.output}") from None


@contextlib.asynccontextmanager
async def started(
    *command: str,
    env: Mapping[str, str],
    patience: float = 30.0,
    prefix: Sequence[str] = (),
    output: int | None = None,
) -> AsyncIterator[Process]:
    """Run `superimap …` for the length of the block; SIGTERM stops it, or kill -9 if it ignores that.

    `prefix` is a command that executes the one that follows it, in the same process. `output` is a descriptor for
    standard output and error in the place of the log.
    """
    with tempfile.TemporaryDirectory(prefix="superimap-log-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as file:
            popen = subprocess.Popen(
                [*prefix, SUPERIMAP, *command],
                env=dict(env),
                stdout=file if output is None else output,
                stderr=file if output is None else output,
                stdin=subprocess.DEVNULL,
            )
        process = Process(" ".join(command), popen, log)
        try:
            yield process
        finally:
            if popen.poll() is None:
                popen.terminate()
                try:
                    await process.ended(within=patience)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise AssertionError(f"{process.name} ignored SIGTERM:\n{process.output}") from None
            process.close()
            watch.search(process.output, process.name)
