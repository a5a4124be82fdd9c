"""SIGTERM to commands that run as process 1 of a container, which the kernel protects from unhandled signals."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from superimap.core.crypto import generate_key
from tests.support.processes import SUPERIMAP

SIGTERM_CODE = 128 + signal.SIGTERM
AS_PROCESS_1 = ("unshare", "--pid", "--fork", "--kill-child")


def prefix() -> tuple[str, ...]:
    """The command that makes another one process 1, where that is permitted.

    Elsewhere the exit code alone shows that the signal is handled: an unhandled one would be -SIGTERM.
    """
    permitted = (
        shutil.which("unshare")
        and not subprocess.run([*AS_PROCESS_1, "true"], stderr=subprocess.DEVNULL, check=False).returncode
    )
    return AS_PROCESS_1 if permitted else ()


async def child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    async with asyncio.timeout(10):
        while not (found := children.read_text().split()):
            await asyncio.sleep(0.01)
    return int(found[0])


@pytest.mark.parametrize(
    "command",
    [("migrate", "--wait", "60"), ("partners", "list"), ("rotate-keys",), ("cluster",)],
    ids=lambda command: command[0],
)
async def test_a_command_that_waits_as_process_1_ends_on_sigterm(command):
    waiting = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting.set()
        await asyncio.sleep(60)
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    env = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": f"postgresql://ann@127.0.0.1:{port}/x?sslmode=disable",
        "ENCRYPTION_KEY": generate_key(),
    }
    first = prefix()
    process = await asyncio.create_subprocess_exec(*first, SUPERIMAP, *command, env=env)
    async with asyncio.timeout(30):
        await waiting.wait()
        os.kill(await child_of(process.pid) if first else process.pid, signal.SIGTERM)
        assert await process.wait() == SIGTERM_CODE
    server.close()
