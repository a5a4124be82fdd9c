"""Exponential backoff with a maximum and jitter."""

import random
from collections.abc import Callable


class Backoff:
    """Waits in seconds: random below a ceiling that grows by `factor` from `first` to `longest`.

    Jitter keeps thousands of sessions that failed together from reconnecting together. A wait is at least the part
    `least` of its ceiling.
    """

    __slots__ = ("_chance", "_factor", "_failures", "_first", "_least", "_longest")

    def __init__(
        self,
        *,
        first: float,
        longest: float,
        factor: float = 2.0,
        least: float = 0.0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._first = first
        self._longest = longest
        self._factor = factor
        self._least = least
        self._chance = chance
        self._failures = 0

    @property
    def failures(self) -> int:
        """Number of failures since the last reset."""
        return self._failures

    def next(self) -> float:
        """Count a failure and return the seconds to wait."""
        ceiling = min(self._first * self._factor ** min(self._failures, 32), self._longest)
        self._failures += 1
        return (self._least + (1.0 - self._least) * self._chance()) * ceiling

    def reset(self) -> None:
        """Forget all failures, after a success."""
        self._failures = 0
