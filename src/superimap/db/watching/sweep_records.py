"""What idlers read and record of sweeps: a sweep with its facts, its place and progress, and a batch of it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from superimap.db.watching.intake import Fence, MailRow
from superimap.db.watching.sessions import WatchedUser
from superimap.domain.mail_stages import Sighting
from superimap.domain.numbering import Numbering, first_numbering
from superimap.domain.sweeps import SweepDirection, SweepFacts


@dataclass(frozen=True, slots=True)
class DueSweep:
    """A sweep that may be begun."""

    id: int
    user_id: int
    partner_id: int
    shard: int


@dataclass(frozen=True, slots=True)
class SweepView:
    """A sweep as it was requested, and the facts that decide whether it goes on."""

    folder: str | None
    since: datetime | None
    until: datetime | None
    max_mails: int | None
    direction: SweepDirection
    again: bool
    dry_run: bool
    sent: int
    facts: SweepFacts


@dataclass(frozen=True, slots=True)
class SweptFolder:
    """A folder with its cursor, as PostgreSQL knows it; without one, `last_uid` is None.

    `is_watched`: it is the watched folder, or one of several.
    """

    id: int
    name: str
    last_uid: int | None
    numbering: Numbering | None
    is_watched: bool

    def numbering_of(self, uid_validity: int) -> Numbering:
        """Return the numbering under a UIDVALIDITY of the server."""
        known = self.numbering
        if known is not None and known.server_value == uid_validity:
            return known
        return first_numbering(uid_validity)


@dataclass(frozen=True, slots=True)
class SweepPlace:
    """Where a sweep reads: a mailbox in a numbering, up to a UID. `is_watched`: a session watches this mailbox."""

    sweep_id: int
    user: WatchedUser
    fence: Fence
    mailbox_id: int
    uid_validity: int
    up_to_uid: int
    is_watched: bool


@dataclass(frozen=True, slots=True)
class SweepProgress:
    """How far a sweep is: the last UID that was looked at, the mails looked at, and the mails that were sent."""

    up_to_uid: int
    done_uid: int | None
    done: int
    sent: int


@dataclass(frozen=True, slots=True)
class UnreadMail:
    """A mail that could not be read, and the seconds until the next attempt."""

    uid: int
    attempts: int
    is_given_up: bool
    retry_in: float


class FailedRead(NamedTuple):
    """A mail that could not be read now, why, and the seconds until the next attempt."""

    uid: int
    reason: str
    retry_in: float


class SweepFailures(NamedTuple):
    """Failures of a sweep in a row, and the seconds that they have lasted."""

    failures: int
    seconds: float


@dataclass(slots=True)
class SweepBatch:
    """What was found in a batch: rows to record, with their sightings, and mails that need no record.

    `last_uid` is the last UID that was looked at; None if only mails that could not be read were tried again.
    `failed` could not be read now, and `cleared` could not be read before; `unreadable` counts the new ones.
    """

    rows: list[MailRow]
    sightings: list[Sighting]
    failed: list[FailedRead] = field(default_factory=list)
    cleared: list[int] = field(default_factory=list)
    last_uid: int | None = None
    looked_at: int = 0
    would_send: int = 0
    known: int = 0
    skipped: int = 0
    unreadable: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to record."""
        return self.last_uid is None and not (self.rows or self.failed or self.cleared)


@dataclass(frozen=True, slots=True)
class RecordedSweep:
    """What became of a batch: all mails sent so far, the endpoints to ring, and the outcomes of new rows."""

    sent: int
    endpoints: tuple[int, ...]
    outcomes: tuple[str, ...]
