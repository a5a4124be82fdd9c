"""Logs whose reader stops: idler and dispatcher write into a pipe that is full."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator

from trials.faults.fault_run import FaultRun
from trials.faults.refusals import check_kept

MAX_STOP_SECONDS = 15.0
"""Longest time from SIGTERM to the end of a process: sessions end, and a second is for the log."""


async def f20_log_not_read(run: FaultRun) -> None:
    """Nobody reads the log of idler and dispatcher, which report that Valkey is away. SIGTERM ends both."""
    loop = asyncio.get_running_loop()
    with _pipe() as (reader, writer):
        loop.add_reader(reader, os.read, reader, 65536)
        pair = [await run.start(name, output=writer) for name in ("idler", "dispatcher")]
        await run.wait_until_watched()
        connects = run.imap.connects
        loop.remove_reader(reader)
        _fill(writer)
        await run.engines.valkey.kill()
        await run.send_at_rate(run.scale.mails // 2)
        await run.engines.valkey.start()
        await run.send_at_rate(run.scale.mails // 2)
        await run.wait_until_settled(within=30)
        check_kept(run, connects)
        for process in pair:
            process.terminate()
        for process in pair:
            try:
                code = await process.ended(within=MAX_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                run.broken.append(f"I8: {process.name} ignores SIGTERM")
                process.kill()
            else:
                if code:
                    run.broken.append(f"I8: {process.name} ended with {code}")


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe, for reading and for writing."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def _fill(writer: int) -> None:
    """Fill a pipe, so that the next write waits for a reader. The processes share this open file."""
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writer, b"\n" * 512):
            pass
    os.set_blocking(writer, True)
