"""Axes of plots: from a value to its place along an axis, with ticks that people would choose."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from superimap.charts import numbers

ELAPSED_STEPS_SECONDS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
ELAPSED_TICKS_WANTED = 7
LEAST_DECADES = 1


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis from `low` to `high`; `ticks` are values on it, `show` writes them."""

    low: float
    high: float
    ticks: tuple[float, ...]
    show: Callable[[float], str]
    is_log: bool = False

    def share(self, value: float) -> float:
        """Return the place of a value, from 0 at `low` to 1 at `high`; others lie at the nearer end."""
        if math.isnan(value):
            return 0.0
        inside = min(max(value, self.low), self.high)
        if self.is_log:
            return math.log(inside / self.low) / math.log(self.high / self.low)
        return (inside - self.low) / (self.high - self.low)


def linear(largest: float, *, show: Callable[[float], str], is_whole: bool = False) -> Axis:
    """Return an axis from 0 to at least `largest`."""
    ticks = tuple(numbers.value_ticks(largest, is_whole=is_whole))
    return Axis(0.0, ticks[-1], ticks, show)


def logarithmic(smallest: float, largest: float, *, show: Callable[[float], str]) -> Axis:
    """Return an axis of powers of ten around both values."""
    low = math.floor(math.log10(max(numbers.drawable(smallest), 1e-6)))
    high = math.ceil(math.log10(max(numbers.drawable(largest), 1e-6)))
    high = max(high, low + LEAST_DECADES)
    ticks = tuple(10.0**power for power in range(low, high + 1))
    return Axis(ticks[0], ticks[-1], ticks, show, is_log=True)


def elapsed(seconds: float) -> Axis:
    """Return an axis of the time since a start, from 0 to `seconds`."""
    whole = max(numbers.drawable(seconds), 1.0)
    step = next(
        (each for each in ELAPSED_STEPS_SECONDS if whole / each <= ELAPSED_TICKS_WANTED),
        ELAPSED_STEPS_SECONDS[-1] * math.ceil(whole / ELAPSED_STEPS_SECONDS[-1] / ELAPSED_TICKS_WANTED),
    )
    ticks = tuple(float(step * number) for number in range(int(whole // step) + 1))
    return Axis(0.0, whole, ticks, elapsed_text)


def power_text(seconds: float) -> str:
    """Return a power of ten of a duration: 10 ms, 100 s."""
    return f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"


def elapsed_text(seconds: float) -> str:
    """Return the time since a start: 0:05, 12:30, 1:00:00."""
    whole = round(numbers.drawable(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
