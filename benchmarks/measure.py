"""What does this process use, and what may it? Memory, descriptors, the event loop's lag."""

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

_SPARE = 256  # descriptors for all that is no session


class BenchError(SuperImapError):
    """The machine does not allow the benchmark, or it went wrong; the sentence says why."""


def allow_files(sessions: int) -> None:
    """Let this process and its children hold so many sockets. Raises BenchError if it may not."""
    wanted = sessions + _SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        most = hard if hard == resource.RLIM_INFINITY else max(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    except (ValueError, OSError):
        raise BenchError(
            f"{sessions} sessions need {wanted} open files and {hard} are allowed; "
            f"raise the limit (`ulimit -Hn {wanted}` as root) or take a smaller --count."
        ) from None


def open_files() -> int:
    """How many descriptors this process holds."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only


def resident_kib(*, trim: bool = False) -> float:
    """The resident memory of this process, garbage collected first; `trim`: what is kept for later given back."""
    if trim:
        runtime.release_memory()
    else:
        gc.collect()
    return resident_now_kib()


def resident_now_kib() -> float:
    """The resident memory of this process as it is."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def collect_ms() -> float:
    """How long a full garbage collection stops everything."""
    began = time.perf_counter()
    gc.collect()
    return (time.perf_counter() - began) * 1000


class Lag:
    """How late the event loop is, asked ten times a second: `with Lag() as lag`, then `lag.p99_ms`."""

    EVERY = 0.1

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._late: list[float] = []

    def __enter__(self) -> Self:
        self._due = self._loop.time() + self.EVERY
        self._timer = self._loop.call_at(self._due, self._ask)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._timer.cancel()

    def _ask(self) -> None:
        now = self._loop.time()
        self._late.append(now - self._due)
        self._due = now + self.EVERY
        self._timer = self._loop.call_at(self._due, self._ask)

    @property
    def p99_ms(self) -> float:
        """The lag that one in a hundred exceeds."""
        ordered = sorted(self._late) or [0.0]
        return round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1000, 2)

    @property
    def longest_ms(self) -> float:
        """The worst lag."""
        return round(max(self._late, default=0.0) * 1000, 2)
