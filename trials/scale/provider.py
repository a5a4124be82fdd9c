"""A mail provider of the simulation: it counts logins, fails for a time, and may refuse fast logins."""

from __future__ import annotations

import asyncio
from collections import Counter

from superimap.imap.errors import Refused, Unreachable

LOGIN_SECONDS = 0.3
"""Time of a connection, the TLS handshake and the login."""
THROTTLED = "Request is throttled. Suggested Backoff Time: 92415 milliseconds"
"""What Exchange answers."""


class SimulatedProvider:
    """A provider whose sessions end when it fails. A login counts as many mailboxes as it stands for."""

    def __init__(self, name: str, *, weight: int, most_per_second: float | None = None) -> None:
        self.name = name
        self.logins: Counter[int] = Counter()
        self.refused = 0
        self._weight = weight
        self._most_per_second = most_per_second
        self._is_up = True
        self._failed = asyncio.Event()

    def fail(self) -> None:
        """End all sessions, and accept none from now on."""
        self._is_up = False
        self._failed.set()

    def recover(self) -> None:
        """Accept logins again."""
        self._is_up = True
        self._failed = asyncio.Event()

    async def log_in(self) -> asyncio.Event:
        """Log in, and return what is set when the session ends. Raises as the real client does."""
        second = int(asyncio.get_running_loop().time())
        self.logins[second] += self._weight
        await asyncio.sleep(LOGIN_SECONDS)
        if not self._is_up:
            raise Unreachable("simulated: the provider is down")
        if self._most_per_second is not None and self.logins[second] > self._most_per_second:
            self.refused += self._weight
            raise Refused("LOGIN", "NO", THROTTLED)
        return self._failed

    def most_logins(self, first: int, last: int, *, seconds: int) -> int:
        """Return the most logins in any window of so many seconds, between two seconds."""
        return max(
            (sum(self.logins[second + each] for each in range(seconds)) for second in range(first, last)),
            default=0,
        )

    def logins_over_time(self, first: int, last: int, *, seconds: int) -> list[int]:
        """Return the logins a second in each window of so many seconds, from one second to another."""
        return [
            sum(self.logins[second + each] for each in range(seconds)) // seconds
            for second in range(first, last, seconds)
        ]
