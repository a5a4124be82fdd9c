"""Stages of a mail: when it was received, found, recorded, sent and settled, and how long each stage took."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class FoundBy(StrEnum):
    """How a mail was found."""

    ANNOUNCED = "announced"
    """The mail server announced it to a session that watched the mailbox."""
    POLLED = "polled"
    """A session that watched the mailbox asked for it: polling, or a check for mail that was not announced."""
    CATCH_UP = "catch_up"
    """A search found it: at a sign-in, after an outage, or below the cursor."""
    SWEEP = "sweep"
    """A sweep of the mailbox's history found it."""


class MailOrigin(StrEnum):
    """How a mail came to its webhook, as the field `origin` says it."""

    LIVE = "live"
    CATCH_UP = "catch_up"
    SWEEP = "sweep"


ORIGINS = {
    FoundBy.ANNOUNCED: MailOrigin.LIVE,
    FoundBy.POLLED: MailOrigin.LIVE,
    FoundBy.CATCH_UP: MailOrigin.CATCH_UP,
    FoundBy.SWEEP: MailOrigin.SWEEP,
}

FOUND_BY_NUMBERS = {
    found_by: number
    for number, found_by in enumerate((FoundBy.ANNOUNCED, FoundBy.POLLED, FoundBy.CATCH_UP, FoundBy.SWEEP), 1)
}
"""Numbers by which `messages.found_by` stores it, because a mail has a row of its own."""
WATCHED_NUMBERS = (FOUND_BY_NUMBERS[FoundBy.ANNOUNCED], FOUND_BY_NUMBERS[FoundBy.POLLED])
"""The numbers of mails that a session found while it watched the mailbox."""
_FOUND_BY = {number: found_by for found_by, number in FOUND_BY_NUMBERS.items()}

MAX_PROVIDER_SECONDS = 86_400.0
"""Delay above which a mail was moved or imported, with an old INTERNALDATE: it says nothing of the provider."""

MAX_MILLISECONDS = 2**31 - 1
"""The longest time that `messages.recording_milliseconds` stores: 24 days."""


class Sighting(NamedTuple):
    """The moment at which a mail was found, by the monotonic clock of the idler."""

    at: float
    found_by: FoundBy

    @property
    def is_watched(self) -> bool:
        """Whether a session that watched the mailbox found the mail, so that it tells of the provider's delay."""
        return ORIGINS[self.found_by] is MailOrigin.LIVE

    def milliseconds_before(self, now: float) -> int:
        """Return the time from the sighting to `now`, of the same clock, as it is stored."""
        return min(max(0, round((now - self.at) * 1000)), MAX_MILLISECONDS)


def found_by_number(number: int | None) -> FoundBy | None:
    """Return how a mail was found, from the stored number; None if that is not stored."""
    return None if number is None else _FOUND_BY.get(number)


@dataclass(frozen=True, slots=True)
class MailStages:
    """Times of a mail. All but `received_at`, which is INTERNALDATE, are by PostgreSQL's clock.

    A time is None if the mail has not come so far, or if the mail is older than its column. `recorded_at` is the
    beginning of the transaction that recorded the mail with its webhook: of a mail that was deferred, once it was
    read. `attempt_seconds` is the duration of the latest attempt.
    """

    found_by: FoundBy | None
    received_at: datetime | None
    found_at: datetime | None
    recorded_at: datetime
    first_attempt_at: datetime | None = None
    attempt_seconds: float | None = None
    settled_at: datetime | None = None

    @property
    def provider_seconds(self) -> float | None:
        """Time from INTERNALDATE, a whole second, until the mail was found.

        Negative: the server's clock is ahead.
        """
        return _seconds(self.received_at, self.found_at)

    @property
    def recording_seconds(self) -> float | None:
        """Time from the sighting until the mail was recorded."""
        return _seconds(self.found_at, self.recorded_at)

    @property
    def sending_seconds(self) -> float | None:
        """Time from the record until the first attempt began."""
        return _seconds(self.recorded_at, self.first_attempt_at)

    @property
    def receiver_seconds(self) -> float | None:
        """Duration of the latest attempt."""
        return self.attempt_seconds

    @property
    def settled_seconds(self) -> float | None:
        """Time from the sighting, or else the record, until the webhook was settled."""
        return _seconds(self.found_at or self.recorded_at, self.settled_at)


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else round((end - start).total_seconds(), 3)
