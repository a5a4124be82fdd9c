"""What a process measures and prints about itself while it runs."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from prometheus_client import REGISTRY

from superimap import __version__
from superimap.core import metrics
from superimap.core.config import Settings
from superimap.core.l2met import Snapshot, metric_lines, take_snapshot
from superimap.core.log_writer import LogWriter
from superimap.core.loop_lag import measure_loop_lag

log = logging.getLogger(__name__)

METRIC_LINES_INTERVAL_SECONDS = 10.0


class LinePrinter:
    """Prints metric lines: what has changed since the last ones."""

    def __init__(self, process: str, source: str, write: Callable[[str], None]) -> None:
        self._process = process
        self._source = source
        self._write = write
        self._before: Snapshot = {}

    def print_lines(self) -> None:
        """Print the lines of the time since the last call."""
        now = take_snapshot(REGISTRY)
        for line in metric_lines(self._before, now, process=self._process, source=self._source):
            self._write(line + "\n")
        self._before = now

    async def run(self) -> None:
        """Print lines every METRIC_LINES_INTERVAL_SECONDS, and the last ones when it is cancelled."""
        try:
            while True:
                await asyncio.sleep(METRIC_LINES_INTERVAL_SECONDS)
                self.print_lines()
        finally:
            self.print_lines()


@asynccontextmanager
async def reporting(process: str, settings: Settings) -> AsyncIterator[None]:
    """Measure the event loop, and print metric lines if METRIC_LINES says so, while the block runs.

    `process` is the kind of this process: `api`, `idler`, `dispatcher`, or `up` for all of them.
    """
    metrics.PROCESS_INFO.labels(process, __version__).set(1)
    tasks = [asyncio.create_task(measure_loop_lag(), name="loop lag")]
    if settings.metric_lines == "l2met":
        printer = LinePrinter(process, settings.dyno or process, _stdout_writer())
        tasks.append(asyncio.create_task(printer.run(), name="metric lines"))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _stdout_writer() -> Callable[[str], None]:
    """Return a function that writes to standard output, and never waits for its reader."""
    descriptor = os.dup(sys.__stdout__.fileno()) if sys.__stdout__ is not None else None
    writer = LogWriter(descriptor, report=lambda lines: f"{lines} metric lines were dropped\n")
    writer.start()
    return writer.write
