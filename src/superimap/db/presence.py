"""Presence of processes: each holds an advisory lock on a number of its own, which its rows carry.

When a process dies, PostgreSQL sees its connection close and releases the lock at once. The lock belongs to the
session, so no pooler in transaction mode may be between.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping

import asyncpg

# The first half of the key of the locks.
DISPATCHER_LOCK_SPACE = 0x5349_4D50  # "SIMP"
IDLER_LOCK_SPACE = 0x5349_4D49  # "SIMI"
MAX_PRESENCE_NUMBER = 2**31 - 1


class Presence:
    """The presence of this process. `number` is for its rows; None while no lock is held.

    Rows without a number are released only when their lease expires.
    """

    def __init__(self, space: int) -> None:
        self.number: int | None = None
        self._space = space
        self._drawn = secrets.randbelow(MAX_PRESENCE_NUMBER) + 1

    async def take_lock(self, db: asyncpg.Connection) -> None:
        """Try to take the lock on this connection, which holds it until it ends. Call it until `number` is set.

        The number is the same on every connection, so that rows from before a lost connection stay ours.
        PostgreSQL may take a lost connection for alive, and keep its lock, for some seconds.
        """
        if self.number is None and await db.fetchval(
            "SELECT pg_try_advisory_lock($1, $2)", self._space, self._drawn
        ):
            self.number = self._drawn

    def clear(self) -> None:
        """The connection has ended, and the lock with it."""
        self.number = None


class Absences:
    """Since when each process has been absent. Kept in memory by the process that looks for them."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[int, float] = {}

    def record(self, limits: Mapping[int, float]) -> list[int]:
        """Record the processes absent now; return those absent at every check for as long as their limit.

        `limits` maps each process to seconds: a living process returns sooner after a lost connection.
        """
        now = self._clock()
        self._since = {number: self._since.get(number, now) for number in limits}
        return [number for number, since in self._since.items() if now - since >= limits[number]]
