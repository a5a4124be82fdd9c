"""Intake of a user's mails: how many may be recorded per hour, and how long a server is suspended beyond that.

A server may invent mails without end, or claim UIDs that hold no mail. The bounds are beyond what an honest
mailbox reaches: an import of tens of thousands of mails is recorded at once. Pure; times are passed in.
"""

from dataclasses import dataclass

MAX_MAILS = 50_000
"""Mails of one user that may be recorded at once, and then per hour."""
MAX_GAPS = 1_000
"""Rows for runs of UIDs without a mail that may be recorded at once, and then per hour."""
MAX_GAP_UIDS = 1_000
"""UIDs of a run that one row stands for, at most."""
FIRST_SUSPENSION_SECONDS = 300.0
LONGEST_SUSPENSION_SECONDS = 21_600.0
FORGIVEN_AFTER_SECONDS = 86_400.0
"""Time without a suspension after which the next one is short again."""
TOLERATED_EXCESSES = 4
"""Connections in a row that may end by a limit before any has caught up."""

_HOUR_SECONDS = 3600.0


class RowAllowance:
    """A number of rows at once, and as many per hour (a token bucket). Times are in seconds, of any one clock."""

    __slots__ = ("_left", "_limit", "_since")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = float(limit)
        self._since = 0.0

    def spend(self, rows: int, *, now: float) -> bool:
        """Spend `rows`, and return whether the allowance sufficed."""
        self._left = (
            min(self._limit, self._left + max(0.0, now - self._since) * self._limit / _HOUR_SECONDS) - rows
        )
        self._since = now
        return self._left >= 0


class Intake:
    """The allowances of one user."""

    __slots__ = ("_gaps", "_mails")

    def __init__(self) -> None:
        self._mails, self._gaps = RowAllowance(MAX_MAILS), RowAllowance(MAX_GAPS)

    def record(self, *, mails: int, gaps: int, now: float) -> str | None:
        """Count what was recorded; return why the server is to be suspended, if it is."""
        has_mails, has_gaps = self._mails.spend(mails, now=now), self._gaps.spend(gaps, now=now)
        if not has_mails:
            return f"more than {MAX_MAILS} mails in an hour"
        if not has_gaps:
            return f"more than {MAX_GAPS} times in an hour UIDs without a mail"
        return None


@dataclass(slots=True)
class Suspensions:
    """The suspensions of one user's server, which grow, and the excesses that lead to one."""

    excesses: int = 0
    _count: int = 0
    _last: float = 0.0

    def suspend(self, *, now: float) -> float:
        """Return the seconds for which a server that invents mails is suspended: minutes at first, then hours."""
        if now - self._last > FORGIVEN_AFTER_SECONDS:
            self._count = 0
        seconds = min(FIRST_SUSPENSION_SECONDS * 2.0 ** min(self._count, 20), LONGEST_SUSPENSION_SECONDS)
        self._count, self._last, self.excesses = self._count + 1, now + seconds, 0
        return seconds

    def pause(self) -> float:
        """Return the seconds for which a server is suspended after too many excesses.

        They do not grow: such a connection costs little, and once the server is well its mail is late by minutes.
        """
        self.excesses = 0
        return FIRST_SUSPENSION_SECONDS

    def exceeds(self) -> bool:
        """Count a connection that a limit has ended; return whether these are too many in a row."""
        self.excesses += 1
        return self.excesses > TOLERATED_EXCESSES

    def forgive(self) -> None:
        """Forget the excesses: a connection has caught up."""
        self.excesses = 0


def gap_detail(count: int, first: int, last: int) -> str:
    """Describe a row that stands for `count` mails."""
    return f"{count} mails, with UIDs from {first} to {last}: deleted or moved before they could be read"
