"""Deferred mails of an open mailbox as its session knows them, with their times by the monotonic clock."""

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from superimap.db.watching.deferrals import NewDeferral
from superimap.db.watching.intake import MailRow
from superimap.domain.deferrals import MAX_DEFERRED_MAILS, StoredDeferral, retry_delay
from superimap.domain.mails import MailOutcome
from superimap.domain.numbering import MailIdentity, identify
from superimap.idler.timing import SessionTiming

Place = tuple[int, int]
"""One numbering of one mailbox: the id of the mailbox, and the number under which its mails are recorded."""
MailKey = tuple[Place, int]
"""A mail: its place and its UID."""


@dataclass(slots=True)
class MailDeferral:
    """A mail that could not be read; see `models.DeferredMail` for the fields.

    `message` is the id of its message, `message_id` its Message-ID, and `size` is 0 if it is not known.
    `last_attempt`, `due` and `absent_since` are times by the monotonic clock; since the last of them the server
    denies without a proof that it has the mail. `is_meta_fatal` says that its metadata ended the session at the
    last attempt.
    """

    place: Place
    uid: int
    internal_date: datetime | None
    message_id: str | None
    size: int
    found_by_date: bool
    message: int
    began: datetime
    last_attempt: float
    due: float
    attempts: int = 1
    failing_seconds: float = 0.0
    announced_size: int | None = None
    is_meta_fatal: bool = False
    absent_since: float | None = None

    @property
    def key(self) -> MailKey:
        """The place and the UID."""
        return self.place, self.uid

    @property
    def identity(self) -> MailIdentity:
        """What identifies the mail under whatever UID."""
        return identify(self.message_id, self.internal_date, self.size or None)

    @property
    def is_new_unknown(self) -> bool:
        """Whether its UID was new, and nothing else is known of it."""
        return not self.found_by_date and self.message_id is None and self.internal_date is None


class DeferredMails:
    """The deferred mails of one mail account: those of the open mailbox in its numbering, and all others."""

    __slots__ = ("_has_failed_look", "_mails", "_watched")

    def __init__(self) -> None:
        self._mails: dict[MailKey, MailDeferral] = {}
        self._has_failed_look = False
        self._watched: tuple[int, ...] = ()  # not a set, which takes ten times the memory

    def __len__(self) -> int:
        return len(self._mails)

    @property
    def is_full(self) -> bool:
        """Whether no more mails may be deferred."""
        return len(self._mails) >= MAX_DEFERRED_MAILS

    def load(self, stored: Iterable[StoredDeferral]) -> None:
        """Replace all by what PostgreSQL knows."""
        now = time.monotonic()
        known = self._mails
        self._mails = {
            ((each.mailbox, each.uid_validity), each.uid): MailDeferral(
                place=(each.mailbox, each.uid_validity),
                uid=each.uid,
                internal_date=each.internal_date,
                message_id=each.message_id,
                size=each.size,
                found_by_date=each.found_by_date,
                message=each.message,
                began=each.began,
                last_attempt=now - each.since_attempt,
                due=now + each.until_attempt,
                attempts=each.attempts,
                failing_seconds=each.failing_seconds,
                announced_size=each.announced_size,
            )
            for each in stored
        }
        for key in self._mails.keys() & known.keys():
            mail = self._mails[key]
            mail.is_meta_fatal, mail.absent_since = known[key].is_meta_fatal, known[key].absent_since

    def add(self, mail: MailDeferral) -> None:
        """Add a mail, after it was recorded as deferred."""
        self._mails.setdefault(mail.key, mail)

    def add_rows(
        self, rows: Iterable[MailRow], place: Place, known: Mapping[int, NewDeferral], *, retry_in: float
    ) -> None:
        """Add those of these mails that are deferred since just now, to be tried again in `retry_in` seconds."""
        now = time.monotonic()
        for row in rows:
            if row.uid in known:
                self.add(
                    MailDeferral(
                        place=place,
                        uid=row.uid,
                        internal_date=row.internal_date,
                        message_id=row.message_id,
                        size=row.size,
                        found_by_date=row.found_by_date,
                        message=known[row.uid].message,
                        began=known[row.uid].began,
                        last_attempt=now,
                        due=now + retry_in,
                    )
                )

    def remove(self, mail: MailDeferral) -> None:
        """Remove a mail, after its final outcome was recorded."""
        self._mails.pop(mail.key, None)

    def holds(self, place: Place, uid: int) -> bool:
        """Return whether this mail is deferred."""
        return (place, uid) in self._mails

    def watch(self, mailboxes: Iterable[int]) -> None:
        """Leave the mails of these mailboxes where they are: each is visited itself."""
        self._watched = tuple(mailboxes)

    def elsewhere(self, place: Place) -> list[MailDeferral]:
        """Return the mails of places that are not watched, except this one: they are looked for under new UIDs.

        An earlier numbering of the same mailbox is such a place.
        """
        return [
            mail
            for (other, _), mail in self._mails.items()
            if other != place and (other[0] == place[0] or other[0] not in self._watched)
        ]

    @contextmanager
    def look(self) -> Iterator[bool]:
        """Look for mails of other places inside the block, unless True is yielded: the last look failed."""
        has_failed, self._has_failed_look = self._has_failed_look, True
        yield has_failed
        self._has_failed_look = False

    def due(self, place: Place) -> list[MailDeferral]:
        """Return the mails of this place that are due, in the order in which they fell due."""
        now = time.monotonic()
        due = [mail for key, mail in self._mails.items() if key[0] == place and mail.due <= now]
        return sorted(due, key=lambda mail: mail.due)

    def seconds_until_due_in(self, mailboxes: frozenset[int]) -> float | None:
        """Return the seconds until the next mail of these mailboxes is due, at least 0; None if there is none."""
        if not self._mails:
            return None
        due = min((mail.due for key, mail in self._mails.items() if key[0][0] in mailboxes), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    def seconds_until_due(self, place: Place) -> float | None:
        """Return the seconds until the next mail of this place is due, at least 0; None if there is none."""
        if not self._mails:
            return None
        due = min((mail.due for key, mail in self._mails.items() if key[0] == place), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    def status_reason(self) -> str | None:
        """Return what the status of the user says about deferred mails, for people."""
        if not self._mails:
            return None
        if len(self._mails) == 1:
            return "1 mail could not be read yet; it is tried again"
        return f"{len(self._mails)} mails could not be read yet; they are tried again"


def first_retry(rows: Iterable[MailRow], timing: SessionTiming) -> float:
    """Return the seconds until the deferred mails among these are tried again; 0 if there are none."""
    if all(row.outcome != MailOutcome.DEFERRED for row in rows):
        return 0.0
    chance = random.random()  # noqa: S311 - no secret
    return retry_delay(1, first=timing.retry_first, longest=timing.retry_longest, chance=chance)
