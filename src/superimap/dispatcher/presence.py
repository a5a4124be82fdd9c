"""Presence of dispatchers: each holds an advisory lock on a number of its own, which its leases carry.

When a process dies, PostgreSQL sees its connection close and releases the lock at once. When a process is
stopped, or its connection to the database is cut, PostgreSQL ends the idle connection after some seconds, with
the same effect.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable

import asyncpg

PRESENCE_LOCK_SPACE = 0x5349_4D50  # "SIMP": the first half of the key of these locks
MAX_PRESENCE_NUMBER = 2**31 - 1


class Presence:
    """The presence of this dispatcher. `number` is for its leases; None while no lock is held.

    Leases without a number are released only when they expire.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._drawn = secrets.randbelow(MAX_PRESENCE_NUMBER) + 1

    async def take_lock(self, db: asyncpg.Connection) -> None:
        """Try to take the lock on this connection, which holds it until it ends. Call it until `number` is set.

        The number is the same on every connection, so that leases from before a lost connection stay ours.
        PostgreSQL may take a lost connection for alive, and keep its lock, for some seconds.
        """
        if self.number is None and await db.fetchval(
            "SELECT pg_try_advisory_lock($1, $2)", PRESENCE_LOCK_SPACE, self._drawn
        ):
            self.number = self._drawn

    def clear(self) -> None:
        """The connection has ended, and the lock with it."""
        self.number = None


class Absences:
    """Since when each dispatcher has been absent. Kept in memory by the process that sweeps."""

    def __init__(self, *, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`limit` is in seconds: a living dispatcher reconnects sooner after an outage of the database."""
        self._limit = limit
        self._clock = clock
        self._since: dict[int, float] = {}

    def record(self, absent: Iterable[int]) -> list[int]:
        """Record the numbers absent now; return those absent at every check for longer than the limit."""
        now = self._clock()
        self._since = {number: self._since.get(number, now) for number in absent}
        return [number for number, since in self._since.items() if now - since > self._limit]
