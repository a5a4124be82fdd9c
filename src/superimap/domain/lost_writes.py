"""Detection of a database that went back in time, from the heartbeats of one process. Pure decisions."""

from dataclasses import dataclass
from datetime import datetime
from math import inf


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A heartbeat that PostgreSQL has confirmed.

    `number` increases with each heartbeat of the process. `sent_at` is the process' time when it was sent.
    `server_started_at` identifies the running PostgreSQL server.
    """

    number: int = 0
    sent_at: float = -inf
    server_started_at: datetime | None = None


def lost_writes_since(
    confirmed: Heartbeat, *, previous_number: int, server_started_at: datetime | None
) -> float | None:
    """Return since when writes may be lost, by the process' clock; None if none are.

    `confirmed` is the last heartbeat that PostgreSQL has confirmed. The next one found `previous_number` in its
    row, on a server that was started at `server_started_at`. A lower number proves that PostgreSQL has lost that
    heartbeat: a lagging replica was promoted, or a backup restored. Another server that still has it also has
    everything that was committed before; what was committed later may be lost.
    """
    if previous_number < confirmed.number:
        return -inf
    if confirmed.server_started_at in (None, server_started_at):
        return None
    return confirmed.sent_at
