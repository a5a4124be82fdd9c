"""Resources of this process: memory, file descriptors and event-loop lag."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import time
from pathlib import Path
from typing import Self

from superimap.core import runtime
from superimap.core.errors import SuperImapError

_SPARE_FILES = 256  # descriptors for everything but sessions


class BenchError(SuperImapError):
    """The benchmark failed, or the machine does not allow it; the message says why and what to do."""


def allow_files(sessions: int) -> None:
    """Raise the limit of open files for this many sessions. Raises BenchError if that is not permitted."""
    wanted = sessions + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        most = hard if hard == resource.RLIM_INFINITY else max(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    except (ValueError, OSError):
        raise BenchError(
            f"{sessions} sessions need {wanted} open files and {hard} are allowed; "
            f"raise the limit (`ulimit -Hn {wanted}` as root) or use a smaller --count."
        ) from None


def open_files() -> int:
    """The number of open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only


def resident_kib(*, trim: bool = False) -> float:
    """Resident memory in KiB after a garbage collection; with `trim`, after freed memory is given back."""
    if trim:
        runtime.release_memory()
    else:
        gc.collect()
    return resident_now_kib()


def resident_now_kib() -> float:
    """Resident memory in KiB at this moment."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def collect_ms() -> float:
    """The pause of a full garbage collection in milliseconds."""
    began = time.perf_counter()
    gc.collect()
    return (time.perf_counter() - began) * 1000


class Lag:
    """Lag of the event loop, sampled ten times a second: `with Lag() as lag`, then `lag.p99_ms`."""

    INTERVAL_SECONDS = 0.1

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._late: list[float] = []

    def __enter__(self) -> Self:
        self._due = self._loop.time() + self.INTERVAL_SECONDS
        self._timer = self._loop.call_at(self._due, self._ask)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._timer.cancel()

    def _ask(self) -> None:
        now = self._loop.time()
        self._late.append(now - self._due)
        self._due = now + self.INTERVAL_SECONDS
        self._timer = self._loop.call_at(self._due, self._ask)

    @property
    def p99_ms(self) -> float:
        """The 99th percentile of the lag."""
        ordered = sorted(self._late) or [0.0]
        return round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1000, 2)

    @property
    def longest_ms(self) -> float:
        """The longest lag."""
        return round(max(self._late, default=0.0) * 1000, 2)
