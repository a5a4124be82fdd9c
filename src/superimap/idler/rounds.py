"""Rounds of a watch: waits for news on one connection, which a stop, a look or a check that is due end early."""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable

from superimap.db.watching.sessions import WatchedUser
from superimap.domain import watch_notes
from superimap.domain.mail_stages import FoundBy
from superimap.idler.context import IdlerContext
from superimap.imap.client import ImapClient
from superimap.imap.command_memory import SILENCE
from superimap.imap.idle import IDLE

SHORTEST_ROUND_SHARE = 0.8
"""The shortest round of a session, as a part of the longest: rounds differ, so that they drift apart."""
CLOCK_TOLERANCE_SECONDS = 0.01
"""Time by which a timer may fire too early."""


class Rounds:
    """The rounds of one connection, and when the mailbox is to be checked next.

    `poll` is the interval in seconds in which a server is asked that does not push.
    """

    __slots__ = (
        "_check_due", "_is_frequent", "_poll_by", "_renew", "_waiting", "is_stopping", "poll",
    )  # fmt: skip

    def __init__(self, context: IdlerContext, watched: WatchedUser) -> None:
        longest = min(context.settings.idle_renew, context.timing.longest_round)
        renew = min(watched.idle_renew or longest, longest)
        # Each session has a length of its own, so that sessions drift apart.
        self._renew = renew * random.uniform(SHORTEST_ROUND_SHARE, 1.0)  # noqa: S311 - no secret
        self.poll = watched.poll_seconds or context.timing.poll
        self.is_stopping = False
        self._poll_by = watched.poll_by
        self._is_frequent = False
        self._waiting: asyncio.Timeout | None = None  # while nothing is in progress
        self._check_due = math.inf  # by the event loop's clock

    def found_by(self, client: ImapClient) -> FoundBy:
        """Return how the mails are found that the server tells of."""
        return FoundBy.POLLED if self._is_polling(client) else FoundBy.ANNOUNCED

    def _is_polling(self, client: ImapClient) -> bool:
        return self._poll_by is not None or not client.takes_idle

    def begin(self, client: ImapClient, due: Callable[[], float]) -> AsyncIterator[None]:
        """Return rounds of IDLE, or of polling. `due` returns the event loop's time when a round has to end."""
        return client.idle(
            renew=self._renew,
            poll=self.poll,
            poll_by=self._poll_by,
            due=lambda: min(due(), self._check_due),
        )

    def describe(self, client: ImapClient) -> str | None:
        """Return how the server is asked for news, and what it does not bear; None if by IDLE, and all is well."""
        left_out = client.left_out
        if not self._is_polling(client) and not left_out:
            return None
        parts = []
        if self._is_polling(client):
            why = "IDLE fails; " if IDLE in left_out else ""
            parts.append(f"{why}{watch_notes.polled(client.longest_wait(self.poll))}")
        elif SILENCE in left_out:
            seconds = client.longest_wait(self._renew)
            parts.append(f"the mail server ends silent connections; IDLE is renewed every {seconds:.0f} s")
        if failing := ", ".join(name for name in left_out if name not in (IDLE, SILENCE)):
            parts.append(f"not used, because the mail server fails: {failing}")
        return "; ".join(parts)

    async def wait(self, rounds: AsyncIterator[None]) -> bool:
        """Wait for the end of a round; return whether it ended by itself.

        The next command ends an IDLE in progress. After an interruption `rounds` are over.
        """
        try:
            async with asyncio.timeout(None) as waiting:
                self._waiting = waiting
                await anext(rounds)
                return True
        except TimeoutError:
            if not waiting.expired():
                raise
            return False
        finally:
            self._waiting = None

    def interrupt(self) -> None:
        """End the present round, if nothing else is in progress."""
        if self._waiting is not None:
            self._waiting.reschedule(_now())

    def stop(self) -> None:
        """End the present round, and have no other."""
        self.is_stopping = True
        self.interrupt()

    @property
    def is_check_due(self) -> bool:
        """Whether the mailbox is to be checked now."""
        return _now() >= self._check_due - CLOCK_TOLERANCE_SECONDS

    def finish_check(self) -> None:
        """Begin the interval until the next check."""
        self._check_due = _now() + self._check_interval

    def check_often(self) -> None:
        """Check the mailbox in the polling interval from now on."""
        self._is_frequent = True

    @property
    def _check_interval(self) -> float:
        """Seconds between two checks."""
        if self._poll_by == "status":
            return self.poll
        return min(self.poll, self._renew) if self._is_frequent else self._renew


def _now() -> float:
    return asyncio.get_running_loop().time()
