"""Exponential backoff with a maximum and full jitter."""

import random
from collections.abc import Callable


class Backoff:
    """Waits in seconds: random below a ceiling that doubles from `first` to `longest`.

    Full jitter keeps thousands of sessions that failed together from reconnecting together.
    """

    __slots__ = ("_chance", "_failures", "_first", "_longest")

    def __init__(self, *, first: float, longest: float, chance: Callable[[], float] = random.random) -> None:
        self._first = first
        self._longest = longest
        self._chance = chance
        self._failures = 0

    @property
    def failures(self) -> int:
        """Number of failures since the last reset."""
        return self._failures

    def next(self) -> float:
        """Count a failure and return the seconds to wait."""
        ceiling = min(self._first * 2.0 ** min(self._failures, 32), self._longest)
        self._failures += 1
        return self._chance() * ceiling

    def reset(self) -> None:
        """Forget all failures, after a success."""
        self._failures = 0
