"""How long to wait before the next try: exponential, capped, with full jitter."""

import random
from collections.abc import Callable


class Backoff:
    """Doubling ceilings from `first` to `longest` seconds; each wait is random below its ceiling.

    Full jitter keeps thousands of sessions that failed together from coming back together.
    """

    __slots__ = ("_chance", "_failures", "_first", "_longest")

    def __init__(self, *, first: float, longest: float, chance: Callable[[], float] = random.random) -> None:
        self._first = first
        self._longest = longest
        self._chance = chance
        self._failures = 0

    @property
    def failures(self) -> int:
        """Failures since the last reset."""
        return self._failures

    def next(self) -> float:
        """Count a failure; seconds to wait."""
        ceiling = min(self._first * 2.0 ** min(self._failures, 32), self._longest)
        self._failures += 1
        return self._chance() * ceiling

    def reset(self) -> None:
        """All is well again."""
        self._failures = 0
