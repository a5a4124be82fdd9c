"""Deferred mails of an open mailbox as its session knows them, with their times by the monotonic clock."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from superimap.domain.deferrals import MAX_DEFERRED_MAILS, StoredDeferral


@dataclass(slots=True)
class MailDeferral:
    """A mail that could not be read; see `models.DeferredMail` for the fields.

    `message` is the id of its message, None while the session does not know it. `last_attempt` and `due` are times
    by the monotonic clock. `is_meta_fatal` says that its metadata ended the session at the last attempt.
    """

    uid_validity: int
    uid: int
    internal_date: datetime | None
    found_by_date: bool
    last_attempt: float
    due: float
    attempts: int = 1
    failing_seconds: float = 0.0
    announced_size: int | None = None
    message: int | None = None
    is_meta_fatal: bool = False


class DeferredMails:
    """The deferred mails of one mailbox, of all numberings."""

    __slots__ = ("_mails",)

    def __init__(self) -> None:
        self._mails: dict[tuple[int, int], MailDeferral] = {}

    def __len__(self) -> int:
        return len(self._mails)

    @property
    def is_full(self) -> bool:
        """Whether no more mails may be deferred."""
        return len(self._mails) >= MAX_DEFERRED_MAILS

    def load(self, stored: Iterable[StoredDeferral]) -> None:
        """Replace all by what PostgreSQL knows."""
        now = time.monotonic()
        fatal = {key for key, mail in self._mails.items() if mail.is_meta_fatal}
        self._mails = {
            (each.uid_validity, each.uid): MailDeferral(
                uid_validity=each.uid_validity,
                uid=each.uid,
                internal_date=each.internal_date,
                found_by_date=each.found_by_date,
                last_attempt=now - each.since_attempt,
                due=now + each.until_attempt,
                attempts=each.attempts,
                failing_seconds=each.failing_seconds,
                announced_size=each.announced_size,
                message=each.message,
                is_meta_fatal=(each.uid_validity, each.uid) in fatal,
            )
            for each in stored
        }

    def add(self, mail: MailDeferral) -> None:
        """Add a mail, after it was recorded as deferred."""
        self._mails.setdefault((mail.uid_validity, mail.uid), mail)

    def remove(self, mail: MailDeferral) -> None:
        """Remove a mail, after its final outcome was recorded."""
        self._mails.pop((mail.uid_validity, mail.uid), None)

    def remove_others(self, uid_validity: int) -> None:
        """Remove the mails of other numberings."""
        self._mails = {key: mail for key, mail in self._mails.items() if key[0] == uid_validity}

    def holds(self, uid_validity: int, uid: int) -> bool:
        """Return whether this mail is deferred."""
        return (uid_validity, uid) in self._mails

    def others(self, uid_validity: int) -> list[MailDeferral]:
        """Return the mails of other numberings: they are looked for under new UIDs."""
        return [mail for key, mail in self._mails.items() if key[0] != uid_validity]

    def due(self, uid_validity: int) -> list[MailDeferral]:
        """Return the mails of this numbering that are due, in the order in which they fell due."""
        now = time.monotonic()
        due = [mail for key, mail in self._mails.items() if key[0] == uid_validity and mail.due <= now]
        return sorted(due, key=lambda mail: mail.due)

    def seconds_until_due(self, uid_validity: int) -> float | None:
        """Return the seconds until the next mail of this numbering is due, at least 0; None if there is none."""
        if not self._mails:
            return None
        due = min((mail.due for key, mail in self._mails.items() if key[0] == uid_validity), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    def status_reason(self) -> str | None:
        """Return what the status of the user says about deferred mails, for people."""
        if not self._mails:
            return None
        if len(self._mails) == 1:
            return "1 mail could not be read yet; it is tried again"
        return f"{len(self._mails)} mails could not be read yet; they are tried again"
