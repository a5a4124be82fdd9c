"""Simulated time: an event loop that jumps to its next timer, and the same time for Python and PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as real
import selectors
import sys
import time as real_time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

BEGIN = real.datetime(2026, 3, 1, tzinfo=real.UTC)
"""The moment at which the loop's time is 0."""
MAX_STEPS_AT_ONE_TIME = 200_000
"""Iterations of the loop without progress of time, above which the simulated program is taken to spin."""
MAX_REAL_WAIT_SECONDS = 60.0
_PACKAGES = ("superimap.idler", "superimap.imap", "superimap.testing.imap", "superimap.domain")


class Stuck(RuntimeError):
    """The simulated program spins, or waits for something that will never happen."""


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for real input and output only while some is expected; otherwise time jumps."""

    loop: SimulatedLoop

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if events or timeout == 0:
            self.loop.count_step()
            return events
        if self.loop.is_waiting_for_real:
            events = super().select(MAX_REAL_WAIT_SECONDS)
            if not events:
                raise Stuck("PostgreSQL does not answer")
            return events
        if timeout is None:
            raise Stuck("nothing is left that could happen")
        self.loop.jump(timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while something runs, and jumps when nothing does."""

    def __init__(self) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self._now = 0.0
        self._steps = 0
        self._real_waits = 0
        super().__init__(selector)

    def time(self) -> float:
        """Return the simulated seconds since BEGIN."""
        return self._now

    @property
    def is_waiting_for_real(self) -> bool:
        """Whether a statement is with PostgreSQL."""
        return self._real_waits > 0

    def jump(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._now += seconds
        self._steps = 0

    def count_step(self) -> None:
        """Count an iteration in which no time passed. Raises Stuck after too many."""
        self._steps += 1
        if self._steps > MAX_STEPS_AT_ONE_TIME:
            raise Stuck("no time passes any more")

    @contextlib.contextmanager
    def real_wait(self) -> Iterator[None]:
        """Let no time pass inside the block, which waits for a real server."""
        self._real_waits += 1
        try:
            yield
        finally:
            self._real_waits -= 1
            self._steps = 0

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Run `func` at once: a thread would make the order of events random."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # whatever it is, the caller awaits it
            future.set_exception(error)
        return future


def moment(seconds: float) -> real.datetime:
    """Return the simulated time at `seconds` of the loop."""
    return BEGIN + real.timedelta(seconds=seconds)


class _AnyDatetime(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, real.datetime)


class _SimulatedDatetime(real.datetime, metaclass=_AnyDatetime):
    @classmethod
    def now(cls, tz: real.tzinfo | None = None) -> Any:
        return moment(asyncio.get_running_loop().time()).astimezone(tz)


class _SimulatedTime:
    """The module `time`, with the clocks of the loop."""

    def __getattr__(self, name: str) -> Any:
        return getattr(real_time, name)

    @staticmethod
    def monotonic() -> float:
        """Return the seconds of the loop."""
        return asyncio.get_running_loop().time()

    @staticmethod
    def time() -> float:
        """Return the simulated time as a Unix timestamp."""
        return moment(asyncio.get_running_loop().time()).timestamp()


@contextlib.contextmanager
def simulated_clocks() -> Iterator[None]:
    """Let `datetime.now` and `time.monotonic` of the simulated modules be simulated time inside the block."""
    replaced: list[tuple[ModuleType, str, object]] = []
    for name, module in sorted(sys.modules.items()):
        if name.startswith(_PACKAGES):
            for attribute, usual, simulated in _REPLACED:
                if getattr(module, attribute, None) is usual:
                    setattr(module, attribute, simulated)
                    replaced.append((module, attribute, usual))
    try:
        yield
    finally:
        for module, attribute, usual in replaced:
            setattr(module, attribute, usual)


_REPLACED: tuple[tuple[str, object, object], ...] = (
    ("datetime", real.datetime, _SimulatedDatetime),
    ("time", real_time, _SimulatedTime()),
)
