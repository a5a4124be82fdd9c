"""Is a dispatcher still there? It holds an advisory lock on a number of its own, and its leases bear the number.

When a process dies, the server sees its connection close and drops the lock, at once. When it stands still, or
its way to the database is cut, the server ends the idle connection after some seconds, which comes to the same.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable

import asyncpg

SPACE = 0x5349_4D50  # "SIMP": the first half of these locks
GREATEST = 2**31 - 1


class Presence:
    """This dispatcher's number, for its leases. None while nobody can see that we are here: those just expire."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._drawn = secrets.randbelow(GREATEST) + 1

    async def show(self, db: asyncpg.Connection) -> None:
        """Try to hold the lock on this connection, for as long as it lasts; to be called until it is held.

        The number stays the same over connections, so that what we sent before one was lost remains ours. A lost
        one that the server takes for alive still has the lock, for some seconds.
        """
        if self.number is None and await db.fetchval(
            "SELECT pg_try_advisory_lock($1, $2)", SPACE, self._drawn
        ):
            self.number = self._drawn

    def hide(self) -> None:
        """The connection is gone."""
        self.number = None


class Absences:
    """Since when is each dispatcher seen to be gone? In one sweeper's memory, for as long as it sweeps."""

    def __init__(self, *, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`patience` is the seconds in which one that lives has connected anew, after the database was away."""
        self._patience = patience
        self._clock = clock
        self._since: dict[int, float] = {}

    def seen(self, absent: Iterable[int]) -> list[int]:
        """Note who is absent at this look; those that were so at every look for longer than `patience`."""
        now = self._clock()
        self._since = {number: self._since.get(number, now) for number in absent}
        return [number for number, since in self._since.items() if now - since > self._patience]
