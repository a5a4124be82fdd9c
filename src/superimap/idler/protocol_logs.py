"""Protocol logs: the conversations of the few mailboxes that operators look at, kept for minutes in memory."""

import asyncio
import logging
import time

from asyncpg import Pool

from superimap.db.failures import UNAVAILABLE
from superimap.db.watching import protocol_logs
from superimap.db.watching.protocol_logs import LoggedLine
from superimap.idler.liveness import LivenessProofs
from superimap.idler.ownership import Ownership
from superimap.imap.transcript import LineDirection, Sink

log = logging.getLogger(__name__)

MAX_WAITING_LINES = 300
"""Lines of a mailbox that wait to be written; a server that says more in that time loses the rest."""
LOOK_SECONDS = 5.0
"""Longest time until an idler learns of a request."""
WRITE_SECONDS = 2.0
"""Time between two batches of lines."""


class MailboxLog:
    """The lines of a mailbox that are not written yet. `ends_at` is the event loop's time of its end."""

    __slots__ = ("_dropped", "_lines", "ends_at", "started_at", "user_id")

    def __init__(self, user_id: int, started_at: float, ends_at: float) -> None:
        self.user_id = user_id
        self.started_at = started_at
        self.ends_at = ends_at
        self._lines: list[LoggedLine] = []
        self._dropped = 0

    def add(self, direction: LineDirection, line: str) -> None:
        """Keep a line, unless the log has ended or too many lines wait."""
        if asyncio.get_running_loop().time() >= self.ends_at:
            return
        if len(self._lines) >= MAX_WAITING_LINES:
            self._dropped += 1
            return
        self._lines.append(LoggedLine(self.user_id, time.time(), direction.value, line))

    def take(self) -> list[LoggedLine]:
        """Return the lines, and forget them."""
        taken, self._lines = self._lines, []
        if self._dropped:
            text = f"{self._dropped} lines are left out"
            taken.append(LoggedLine(self.user_id, time.time(), LineDirection.NOTE.value, text))
            self._dropped = 0
        return taken


class ProtocolLogs:
    """The mailboxes of this idler that are logged now; usually none."""

    def __init__(self) -> None:
        self._logs: dict[int, MailboxLog] = {}

    async def refresh(self, pool: Pool, liveness: LivenessProofs, ownership: Ownership) -> None:
        """Write what was said, and begin and end logs as they were requested, in the owned shards."""
        lines = [line for each in self._logs.values() for line in each.take()]
        if lines:
            await protocol_logs.write_lines(pool, lines)
        requested = await protocol_logs.list_active(pool)
        now = asyncio.get_running_loop().time()
        wanted = {each.user_id: each for each in requested if each.shard in ownership.epochs}
        for user_id in self._logs.keys() - wanted.keys():
            del self._logs[user_id]
            self._attach(liveness, user_id)
        for user_id, request in wanted.items():
            known = self._logs.get(user_id)
            if known is None or known.started_at != request.started_at:
                self._logs[user_id] = MailboxLog(user_id, request.started_at, now + request.seconds_left)
                self._attach(liveness, user_id)

    async def run(self, pool: Pool, liveness: LivenessProofs, ownership: Ownership, *, every: float) -> None:
        """Refresh until cancelled: often while a mailbox is logged, else every `every` seconds at most."""
        while True:
            try:
                await self.refresh(pool, liveness, ownership)
            except UNAVAILABLE as error:
                log.debug("protocol logs wait for PostgreSQL: %s", type(error).__name__)
            await asyncio.sleep(min(every, WRITE_SECONDS if self._logs else LOOK_SECONDS))

    def _attach(self, liveness: LivenessProofs, user_id: int) -> None:
        """Have the open connection of a mailbox keep its lines, or no longer."""
        client = liveness.client_of(user_id)
        if client is not None:
            client.trace(self.sink_of(user_id))

    def sink_of(self, user_id: int) -> Sink | None:
        """Return what takes the lines of this mailbox; None if nobody looks at it."""
        found = self._logs.get(user_id)
        return None if found is None else found.add
