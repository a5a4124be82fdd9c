"""Logs whose reader stops, closes or has a full disk: the process that writes them goes on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from fixtures.world import eventually
from tests.support.processes import SUPERIMAP, environment

LOGGING_PROCESS = """
import asyncio, logging, sys, time
from superimap.core import log, log_writer, metrics, runtime
log_writer.MAX_QUEUED_BYTES = int(sys.argv[1])
log.configure_logging(level="info", form="text")

async def main(stop):
    longest = 0.0
    for number in range(2000):
        began = time.monotonic()
        logging.getLogger("superimap.test").info("a line", extra={"number": number})
        await asyncio.sleep(0)
        longest = max(longest, time.monotonic() - began)
    await asyncio.sleep(0.1)
    dropped = metrics.LOG_LINES_DROPPED._value.get()
    print(f"dropped={dropped:.0f} stalled={longest > 0.5}", flush=True)
    await stop.wait()
    print("stopped", flush=True)

runtime.run(main)
"""
CRASH = """
from superimap.core import log, runtime
log.configure_logging(level="info", form="json")

async def main(stop):
    raise RuntimeError("the last words")

runtime.run(main)
"""


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe that is full, so that a write to it waits for a reader."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"\n" * 4096)
    yield reader, writer
    for end in (reader, writer):
        os.close(end)


def logging_process(stderr: int | None, *, shell: str = "", limit: int = 20_000) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", LOGGING_PROCESS, str(limit)]
    if shell:
        command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)


@contextlib.contextmanager
def terminated(process: subprocess.Popen[str]) -> Iterator[None]:
    """End a process after the block, also if the block fails."""
    with process:
        try:
            yield
        finally:
            process.terminate()


def read_until(reader: int, is_enough: Callable[[bytes], bool]) -> bytes:
    """Read from a pipe until it is enough; fail if nothing more comes."""
    text = b""
    while not is_enough(text):
        assert select.select([reader], [], [], 10)[0], text[-200:]
        text += os.read(reader, 65536)
    return text


def survives(process: subprocess.Popen[str]) -> int:
    """The number of dropped lines of a process that does not stall and ends on SIGTERM."""
    assert process.stdout is not None
    with process:
        dropped, stalled = process.stdout.readline().split()
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopped\n"
        assert process.wait(10) == 0
    assert stalled == "stalled=False"
    return int(dropped.removeprefix("dropped="))


def test_a_process_goes_on_while_nobody_reads_its_log(full_pipe):
    assert survives(logging_process(full_pipe[1])) > 1000


def test_a_log_that_another_process_made_non_blocking_loses_no_line(full_pipe):
    reader, writer = full_pipe
    os.set_blocking(writer, False)
    process = logging_process(writer, limit=10_000_000)
    assert process.stdout is not None
    with terminated(process):
        assert process.stdout.readline().startswith("dropped=0 ")
        read_until(reader, lambda text: text.count(b"a line") == 2000)


@pytest.mark.parametrize("shell", ["2>/dev/full", "2>&-"], ids=["disk full", "closed"])
def test_a_process_goes_on_whose_log_cannot_be_written(shell):
    assert survives(logging_process(None, shell=shell)) >= 2000


def test_a_process_goes_on_whose_log_has_lost_its_reader():
    reader, writer = os.pipe()
    process = logging_process(writer)
    os.close(writer)
    os.close(reader)

    assert survives(process) >= 2000


def test_a_reader_that_returns_gets_the_kept_lines_and_the_number_of_dropped_ones(full_pipe):
    reader, writer = full_pipe
    process = logging_process(writer)
    assert process.stdout is not None
    with terminated(process):
        dropped = process.stdout.readline().split()[0].removeprefix("dropped=")
        text = read_until(reader, lambda text: b"log lines were dropped" in text)
    numbers = [int(line.rpartition(b"=")[2]) for line in text.splitlines() if b"a line" in line]

    assert numbers == sorted(set(numbers))
    assert len(numbers) == 2000 - int(dropped)
    assert text.strip().endswith(f"lines={dropped}".encode())


def test_a_crash_prints_its_traceback():
    ended = subprocess.run(
        [sys.executable, "-c", CRASH], stderr=subprocess.PIPE, text=True, timeout=20, check=False
    )

    assert ended.returncode == 1
    assert ended.stderr.strip().endswith("RuntimeError: the last words")


def test_a_crash_ends_although_nobody_reads_its_traceback(full_pipe):
    ended = subprocess.run([sys.executable, "-c", CRASH], stderr=full_pipe[1], timeout=20, check=False)

    assert ended.returncode == 1


async def test_a_dispatcher_works_and_stops_while_nobody_reads_its_log(world, full_pipe, unused_tcp_port):
    env = environment(world, HEALTH_PORT=str(unused_tcp_port))
    process = subprocess.Popen([SUPERIMAP, "dispatcher"], env=env, stdout=full_pipe[1], stderr=full_pipe[1])
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{unused_tcp_port}") as client:

        async def is_ready() -> bool:
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(is_ready, within=20)
    began = time.monotonic()
    process.terminate()

    assert process.wait(20) == 0
    assert time.monotonic() - began < 10
