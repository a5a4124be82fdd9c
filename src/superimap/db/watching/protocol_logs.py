"""Protocol logs, for idlers: which mailboxes are logged now, and the lines of their conversations."""

from collections.abc import Sequence
from typing import NamedTuple

from asyncpg import Pool

from superimap.db import statements
from superimap.domain.protocol_logs import MAX_LINES, MAX_LOGS

_STATEMENTS = statements.load(__file__)
_LIST_ACTIVE = _STATEMENTS["list_active"]
_WRITE_LINES = _STATEMENTS["write_lines"]


class LogRequest(NamedTuple):
    """A mailbox that is to be logged. `started_at` tells two requests apart; both are seconds of PostgreSQL."""

    user_id: int
    shard: int
    started_at: float
    seconds_left: float


class LoggedLine(NamedTuple):
    """A line without secrets, and the Unix time at which it was said."""

    user_id: int
    at: float
    direction: str
    line: str


async def list_active(pool: Pool) -> list[LogRequest]:
    """Return the mailboxes that are logged now, in the whole cluster; usually none."""
    return [LogRequest(*row) for row in await pool.fetch(*_LIST_ACTIVE.bind(limit=MAX_LOGS))]


async def write_lines(pool: Pool, lines: Sequence[LoggedLine]) -> None:
    """Store lines of logs that run. Those of a log that has ended or is full are dropped."""
    users, times, directions, texts = zip(*lines, strict=True)
    await pool.execute(
        *_WRITE_LINES.bind(user_ids=users, times=times, directions=directions, lines=texts, most=MAX_LINES)
    )
