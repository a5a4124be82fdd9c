"""Tracers: verdicts on test mails, the limits by which they are judged, and the stages that are timed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from superimap.domain.users import UserStatus

SINK_URL = "https://tracers.superimap.invalid/"
"""The `new_mail` URL of a canary partner. The dispatcher answers it itself; the name is in no DNS (RFC 2606)."""

LATE_SECONDS = 10.0
"""Seconds from INTERNALDATE to the record after which a tracer is late."""
MISSING_SECONDS = 300.0
"""Seconds after it was accepted until a tracer that is not there is missing."""
SEND_SECONDS = 30.0
"""Longest time to send a tracer: names, connection, TLS, sign-in and the mail together."""
ACKNOWLEDGE_SECONDS = 60.0
"""Seconds after its record for which the webhook of a long tracer is waited for before the verdict."""

OBJECTIVE_SHARE = 0.99
"""Part of the tracers that must arrive in time."""
OBJECTIVE_DAYS = 28
CHECKED_SECONDS = 6 * 3600.0
"""Age of the last verdict above which a provider counts as not checked."""
MAX_CANDIDATES = 1000
"""Mailboxes with tracers among which the next one is chosen."""

LONGEST_PAUSE_SECONDS = 5 * 3600.0
"""Longest pause of a mailbox whose tracers are not accepted: each may be a refused login, and these lock accounts.

It is shorter than CHECKED_SECONDS, so that a provider with one such mailbox counts as failing, not as unchecked.
"""
COUNTED_FAILURES = 16
"""Last tracers of a mailbox among which failures are counted; each doubles the pause."""

NOT_TRIED = {
    UserStatus.AUTHENTICATION_FAILED: "the mail server refuses the mailbox's login",
    UserStatus.SUSPENDED: "the mailbox is suspended",
}
"""Failures without a login, by the status of the mailbox: another refused login could lock the account."""


class TracerVerdict(StrEnum):
    """What became of a tracer; decided once, and never changed by a later arrival."""

    DETECTED = "detected"
    LATE = "late"
    MISSING = "missing"
    UNSENDABLE = "unsendable"


class CleanUp(StrEnum):
    """What became of a detected tracer in its mailbox."""

    DELETED = "deleted"
    GONE = "gone"  # by somebody else, or the mailbox is renumbered
    NO_UIDPLUS = "no_uidplus"  # the mail server cannot delete one mail by its UID
    KEPT = "kept"  # in the mailbox of a customer, which is never changed
    FAILED = "failed"


class TracerStage(StrEnum):
    """Part of a tracer's way, named by what ends it. `ARRIVAL` is from INTERNALDATE to the record."""

    ACCEPTED = "accepted"
    INTERNALDATE = "internaldate"
    SEEN = "seen"
    FETCHED = "fetched"
    RECORDED = "recorded"
    CLAIMED = "claimed"
    POSTED = "posted"
    ACKNOWLEDGED = "acknowledged"
    ARRIVAL = "arrival"


@dataclass(frozen=True, slots=True)
class TracerTimes:
    """The nine moments of a tracer; None for those that did not happen, or are not known.

    The mail server's clock writes `internal_date`, in whole seconds; an idler's `accepted`, `seen` and `fetched`;
    a dispatcher's `claimed`, `posted` and `acknowledged`; PostgreSQL's the others.
    """

    made: datetime
    accepted: datetime | None = None
    internal_date: datetime | None = None
    seen: datetime | None = None
    fetched: datetime | None = None
    recorded: datetime | None = None
    claimed: datetime | None = None
    posted: datetime | None = None
    acknowledged: datetime | None = None

    def moments(self) -> Sequence[tuple[TracerStage, datetime | None]]:
        """Return each moment after `made` with the stage that it ends, in the order of a tracer's way."""
        return (
            (TracerStage.ACCEPTED, self.accepted),
            (TracerStage.INTERNALDATE, self.internal_date),
            (TracerStage.SEEN, self.seen),
            (TracerStage.FETCHED, self.fetched),
            (TracerStage.RECORDED, self.recorded),
            (TracerStage.CLAIMED, self.claimed),
            (TracerStage.POSTED, self.posted),
            (TracerStage.ACKNOWLEDGED, self.acknowledged),
        )

    def durations(self) -> Iterator[tuple[TracerStage, float]]:
        """Yield the seconds of each stage whose end is known, from the known moment before it.

        Several clocks write the moments, and one has whole seconds: a moment before its predecessor counts as at
        the same time. INTERNALDATE therefore ends a stage of at least 0 s, and begins the next one at `accepted`
        if that is later.
        """
        before = self.made
        for stage, moment in self.moments():
            if moment is not None:
                yield stage, max(0.0, (moment - before).total_seconds())
                before = max(before, moment)
        if (arrival := self.arrival_seconds) is not None:
            yield TracerStage.ARRIVAL, arrival

    @property
    def arrival_seconds(self) -> float | None:
        """Seconds from INTERNALDATE to the record; None while it is not recorded.

        Without INTERNALDATE they count from the moment in which the mail was accepted or made.
        """
        if self.recorded is None:
            return None
        since = self.internal_date or self.accepted or self.made
        return max(0.0, (self.recorded - since).total_seconds())


class TracerHealth(StrEnum):
    """Whether mail arrives at a provider, by its last tracer."""

    FINE = "fine"
    LATE = "late"
    FAILING = "failing"
    UNCHECKED = "unchecked"


_HEALTH = {
    TracerVerdict.DETECTED: TracerHealth.FINE,
    TracerVerdict.LATE: TracerHealth.LATE,
    TracerVerdict.MISSING: TracerHealth.FAILING,
    TracerVerdict.UNSENDABLE: TracerHealth.FAILING,
}


def judge_health(verdict: TracerVerdict | None, *, age_seconds: float) -> TracerHealth:
    """Judge a provider by the verdict on its last tracer, made `age_seconds` ago; None if there is none."""
    if verdict is None or age_seconds > CHECKED_SECONDS:
        return TracerHealth.UNCHECKED
    return _HEALTH[verdict]


def budget_left(*, good: int, bad: int) -> float:
    """Return the part of the error budget that is left, from 1 for none used; negative if it is exceeded."""
    allowed = (good + bad) * (1 - OBJECTIVE_SHARE)
    return 1.0 if not bad else 1 - bad / allowed
