"""State of a watched mailbox that outlives the connections of its user."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from superimap.core.errors import SuperImapError
from superimap.domain import intake
from superimap.domain.mails import MailOutcome
from superimap.domain.numbering import MailIdentity
from superimap.idler.deferred_mails import DeferredMails, Place
from superimap.idler.doubtful_bodies import DoubtfulBodies, is_doubtful
from superimap.idler.folder_troubles import FolderTroubles
from superimap.idler.rooms import SessionRoom
from superimap.idler.suspects import Suspects
from superimap.imap.command_memory import CommandMemory

RecordedMail = tuple[int, int, MailIdentity]
"""A mail as later connections recognise it: numbering, UID and identity."""


class ServerSuspended(SuperImapError):
    """The mail server exceeds its bounds. What it has sent so far is recorded."""


class MailboxMemory:
    """State of a mailbox that outlives a connection of its user. It is lost with the process.

    - `suspects`: the mails that could not be read.
    - `deferred`: the deferred mails, as PostgreSQL knew them when the mailbox was opened, and their changes since.
    - `recorded_at`: the event loop's time of the last record.
    - `expects_mail`: mail was announced, and no catch-up has accounted for it.
    - `room`: the memory of the present connection.
    - `commands`: the commands that the server does not bear.
    - `folders`: the other watched folders that failed.
    - The bodies that may be less than their mails.
    - The mails whose headers ended a session: the event of such a mail has no envelope.
    - The mails that an unfinished catch-up by date has recorded. No cursor covers them, and thanks to them each
      attempt gets further than the one before.
    """

    __slots__ = (
        "_bodies", "_broken_headers", "_has_failed_check", "_intake", "_place", "_recorded", "commands",
        "deferred", "expects_mail", "folders", "recorded_at", "room", "suspects",
    )  # fmt: skip

    def __init__(self, first: Self | None = None) -> None:
        """`first` is the memory of the folder in which the session waits, if this is of another folder."""
        self.suspects = Suspects()
        self.deferred: DeferredMails = DeferredMails() if first is None else first.deferred
        self.folders: FolderTroubles[Self] | None = None  # few sessions need one
        self.expects_mail = False
        self.recorded_at = 0.0
        self.room: SessionRoom | None = None if first is None else first.room
        self.commands: CommandMemory = CommandMemory() if first is None else first.commands
        self._recorded: set[RecordedMail] | None = None  # few sessions need one
        self._broken_headers: frozenset[int] = frozenset()
        self._intake: intake.Intake = intake.Intake() if first is None else first._intake
        self._place: Place | None = None
        self._has_failed_check = False
        self._bodies: DoubtfulBodies | None = None  # few sessions need one

    def begin_connection(self, room: SessionRoom) -> None:
        """Use the memory of a new connection."""
        self.room = room

    def begin_numbering(self, place: Place) -> None:
        """Forget everything about mails if UIDs are of another mailbox or numbering than before."""
        if place != self._place:
            self.finish_catch_up()
            self.suspects.begin_numbering()
            self._bodies = None
            self._place = place

    def finish_catch_up(self) -> None:
        """Forget single mails: all are recorded."""
        self.suspects.forget_mails()
        self._recorded = None
        self._broken_headers = frozenset()

    @contextmanager
    def identity_check(self) -> Iterator[bool]:
        """Compare mails inside the block, unless True is yielded: the last comparison ended its session."""
        has_failed, self._has_failed_check = self._has_failed_check, True
        yield has_failed
        self._has_failed_check = False

    def record_broken_header(self, uid: int) -> None:
        """Note that reading the headers of this mail has ended a session."""
        self._broken_headers |= {uid}

    def has_broken_header(self, uid: int) -> bool:
        """Return whether reading the headers of this mail has ended a session."""
        return uid in self._broken_headers

    def check_body(self, uid: int, raw: bytes, size: int | None) -> None:
        """Raise Withheld if `raw` is not to be taken for the mail, whose RFC822.SIZE is `size`."""
        if self._bodies is not None or is_doubtful(raw, size):
            self._bodies = self._bodies or DoubtfulBodies()
            self._bodies.check(uid, raw, size)

    def add_recorded(self, mails: Sequence[RecordedMail]) -> None:
        """Remember mails that a catch-up by date has recorded."""
        self._recorded = self._recorded or set()
        self._recorded.update(mails)

    def is_recorded(self, mail: RecordedMail) -> bool:
        """Return whether an earlier attempt of this catch-up by date has recorded the mail."""
        return self._recorded is not None and mail in self._recorded

    def count_intake(self, outcomes: Sequence[str]) -> None:
        """Count what was recorded. Raises ServerSuspended if it exceeds all that an honest mailbox holds."""
        gaps = sum(outcome == MailOutcome.GONE for outcome in outcomes)
        reason = self._intake.record(mails=len(outcomes) - gaps, gaps=gaps, now=time.monotonic())
        if reason is not None:
            raise ServerSuspended(reason)

    def expect_mail(self, is_expected: bool) -> None:
        """Note whether mail is announced that no catch-up has accounted for."""
        self.expects_mail = is_expected
