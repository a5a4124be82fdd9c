"""Watched folders that failed, across connections: each is left out for a time, and the others go on."""

from typing import Generic, TypeVar

MAX_ENDED_SESSIONS = 3
"""After this number of sessions that ended in a folder, the folder is left out."""
FIRST_PERIOD_SECONDS = 300.0
LONGEST_PERIOD_SECONDS = 21_600.0
"""A folder is left out for five minutes, then for twice as long after each further failure, six hours at most."""
UNPROVEN_PERIOD_SECONDS = 60.0
"""Time for which it is left out while no other folder was read between failures: the server may be at fault."""

Memory = TypeVar("Memory")


class FolderTrouble(Generic[Memory]):
    """What is remembered of a folder that failed. It is left out until the event loop's time `until`.

    Of its `failures`, so many are `proven`: another folder was read since the failure before.
    """

    __slots__ = ("failures", "memory", "proven", "reason", "successes", "until")

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.failures = self.proven = 0
        self.successes = -1  # of all folders, at the latest failure
        self.until = 0.0
        self.reason = ""


class FolderTroubles(Generic[Memory]):
    """The folders that failed, by name. A folder that is read without a fault is forgotten."""

    __slots__ = ("_successes", "_troubles")

    def __init__(self) -> None:
        self._troubles: dict[str, FolderTrouble[Memory]] = {}
        self._successes = 0

    def memory_of(self, name: str) -> Memory | None:
        """Return what is remembered of the mails of a folder."""
        trouble = self._troubles.get(name)
        return None if trouble is None else trouble.memory

    def fail(self, name: str, memory: Memory, reason: str, now: float) -> None:
        """Note that a session has ended in a folder; leave the folder out after some."""
        trouble = self._noted(name, memory, reason)
        trouble.failures += 1
        trouble.proven += trouble.successes != self._successes
        trouble.successes = self._successes
        if trouble.proven >= MAX_ENDED_SESSIONS:
            period = FIRST_PERIOD_SECONDS * 2.0 ** min(trouble.proven - MAX_ENDED_SESSIONS, 10)
            trouble.until = now + min(period, LONGEST_PERIOD_SECONDS)
        elif trouble.failures >= MAX_ENDED_SESSIONS:
            trouble.until = now + UNPROVEN_PERIOD_SECONDS

    def refuse(self, name: str, memory: Memory, reason: str, now: float) -> None:
        """Leave a folder out for the first period, because the mail server refuses it."""
        self._noted(name, memory, reason).until = now + FIRST_PERIOD_SECONDS

    def succeed(self, name: str) -> None:
        """Forget a folder, because it was read."""
        self._successes += 1
        self._troubles.pop(name, None)

    def left_out(self, name: str, now: float) -> str | None:
        """Return why a folder is left out; None if it is to be visited."""
        trouble = self._troubles.get(name)
        return None if trouble is None or now >= trouble.until else trouble.reason

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until the next folder that is left out is visited again; None if there is none."""
        waits = [each.until - now for each in self._troubles.values() if each.until > now]
        return min(waits) if waits else None

    def keep(self, names: frozenset[str]) -> None:
        """Forget all folders but these."""
        for name in self._troubles.keys() - names:
            del self._troubles[name]

    def _noted(self, name: str, memory: Memory, reason: str) -> FolderTrouble[Memory]:
        trouble = self._troubles.setdefault(name, FolderTrouble(memory))
        trouble.memory, trouble.reason = memory, reason
        return trouble
