"""Positions in the log of PostgreSQL: how old is what a standby shows."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from datetime import datetime

from asyncpg import Connection

from superimap.db import statements

_STATEMENTS = statements.load(__file__)
_READ_PRIMARY = _STATEMENTS["read_primary"]
_READ_STANDBY = _STATEMENTS["read_standby"]


@dataclass(frozen=True, slots=True)
class ServerPosition:
    """A server: the cluster that it is a copy of, its start, and its position in the log (bytes).

    A standby has replayed the log up to its position; None if it should be a standby and is none.
    """

    system: int
    started: datetime
    position: int | None


async def read_primary(db: Connection) -> ServerPosition:
    """Read the position of a primary. Raises ObjectNotInPrerequisiteStateError on a standby."""
    row = await db.fetchrow(*_READ_PRIMARY.bind())
    return ServerPosition(row["system_identifier"], row["started"], row["position"])


async def read_standby(db: Connection) -> ServerPosition:
    """Read the position of a standby."""
    row = await db.fetchrow(*_READ_STANDBY.bind())
    position = row["position"] if row["is_standby"] else None
    return ServerPosition(row["system_identifier"], row["started"], position)


class StandbyAge:
    """Age of what a standby shows, by the clock of this process: from positions of the primary at known times.

    It needs no clock of a server, holds while nothing is written, and grows while replication is interrupted.
    `memory` is in seconds: an age above it is infinite.
    """

    def __init__(self, *, memory: float) -> None:
        self._memory = memory
        self._samples: deque[tuple[float, int]] = deque()
        self._shown_at = -math.inf

    def record(self, primary: ServerPosition, standby: ServerPosition, *, at: float) -> None:
        """Record positions of both; that of the primary was asked for `at`, and that of the standby after it."""
        position = primary.position or 0
        if self._samples and position < self._samples[-1][1]:  # another primary, which lacks some of the log
            self._samples.clear()
        self._samples.append((at, position))
        while self._samples[0][0] < at - self._memory:
            self._samples.popleft()
        shown = (when for when, sample in self._samples if _shows(standby, primary, sample))
        self._shown_at = max(shown, default=-math.inf)

    def forget(self) -> None:
        """The standby is not to be used before the next record."""
        self._shown_at = -math.inf

    def seconds(self, now: float) -> float:
        """Return the age at this time: each commit before it is shown."""
        return now - self._shown_at


def _shows(standby: ServerPosition, primary: ServerPosition, position: int) -> bool:
    if standby.system != primary.system:
        return False
    if standby.position is None:  # the primary itself, or a server that was promoted beside it
        return standby.started == primary.started
    return standby.position >= position
