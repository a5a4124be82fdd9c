"""Memory of the commands that the server of one user does not bear, across connections.

Some servers offer a command and end the connection with it, never answer it, or refuse it for good in words that
ask for a pause. What SuperIMAP can do without is left out then, for a time.
"""

import contextlib
import math
from collections.abc import Iterator

from superimap.imap.errors import ImapError, LimitExceeded, Refused
from superimap.imap.protocol import Protocol
from superimap.imap.throttling import asks_for_pause

SILENCE = "silence"
"""Stands for a wait without a command: servers, and devices on the way, end connections that are silent."""
MAX_ENDED_SESSIONS = 2
"""After this number of sessions in a row that a command has ended it is left out."""
MAX_PAUSES = 3
"""After this number of refusals in a row that ask for a pause the command is left out instead."""
FIRST_PERIOD_SECONDS = 3600.0
LONGEST_PERIOD_SECONDS = 86_400.0
"""A command is left out for an hour, then for twice as long after each further failure, a day at most."""
MIN_SILENCE_SECONDS = 5.0
"""The shortest silence that may be why a connection has ended."""
SHORTEST_WAIT_SECONDS = 20.0
"""The shortest time to which silence is limited."""


class _Trouble:
    """Failures of a command in a row, how often it was left out, and until when (by the event loop's clock)."""

    __slots__ = ("failures", "periods", "until")

    def __init__(self) -> None:
        self.failures = self.periods = 0
        self.until = 0.0


class CommandMemory:
    """The commands that failed. It takes no memory for a server on which none does."""

    __slots__ = ("_longest_silence", "_troubles")

    def __init__(self) -> None:
        self._troubles: dict[str, _Trouble] | None = None
        self._longest_silence = math.inf

    def is_usable(self, name: str, now: float) -> bool:
        """Return whether a command is to be used; `now` is the event loop's time."""
        return not self._troubles or (each := self._troubles.get(name)) is None or now >= each.until

    def left_out(self, now: float) -> list[str]:
        """Return the names of the commands that are not to be used."""
        return [name for name, each in (self._troubles or {}).items() if now < each.until]

    def fail(self, name: str, now: float, *, most: int = MAX_ENDED_SESSIONS) -> None:
        """Note that a command has failed; leave it out after `most` failures in a row."""
        self._troubles = self._troubles or {}
        trouble = self._troubles.setdefault(name, _Trouble())
        trouble.failures += 1
        if trouble.failures >= most:
            period = FIRST_PERIOD_SECONDS * 2.0 ** min(trouble.periods, 10)
            trouble.periods += 1
            trouble.until = now + min(period, LONGEST_PERIOD_SECONDS)

    def succeed(self, name: str, *, silent: float = 0.0) -> None:
        """Note that a command was answered, after so many seconds of silence."""
        if self._troubles:
            self._troubles.pop(name, None)
            if silent > 2 * self._longest_silence:
                self._troubles.pop(SILENCE, None)

    @contextlib.contextmanager
    def attempt(
        self, name: str, protocol: Protocol, *, silent: float = 0.0, most: int = MAX_ENDED_SESSIONS
    ) -> Iterator[None]:
        """Count whether the command in the block ends the session; after `most` in a row it is left out.

        `silent` is the silence before it, in seconds.
        """
        protocol.check()
        try:
            yield
        except (Refused, LimitExceeded):
            raise
        except ImapError:
            self.blame(name, silent, protocol.loop.time(), most=most)
            raise
        self.succeed(name, silent=silent)

    def blame(self, name: str | None, silent: float, now: float, *, most: int = MAX_ENDED_SESSIONS) -> None:
        """Note that the session has ended with a command, or with the silence before it.

        Silence is limited first, to half of what ended a session. The command, if any, is at fault if that does
        not help.
        """
        is_limited = not self.is_usable(SILENCE, now)
        if silent < MIN_SILENCE_SECONDS or (is_limited and self._longest_silence <= SHORTEST_WAIT_SECONDS):
            if name is not None:
                self.fail(name, now, most=most)
            return
        if not is_limited:
            self.fail(SILENCE, now)
        self._longest_silence = max(SHORTEST_WAIT_SECONDS, min(self._longest_silence, silent / 2))

    def longest_wait(self, seconds: float, now: float) -> float:
        """Return `seconds`, or less if the server ends connections that are silent for so long."""
        return seconds if self.is_usable(SILENCE, now) else min(seconds, self._longest_silence)

    def tolerate(self, name: str, error: Refused, now: float) -> None:
        """Pass over a refusal, unless it asks for a pause that is to be respected: then raise it."""
        if asks_for_pause(error.code, error.text):
            self.fail(name, now, most=MAX_PAUSES)
            if self.is_usable(name, now):
                raise error
