"""On which mails does a server fail? Counted over connections, so that no mail stops its mailbox for ever."""

import contextlib
from collections.abc import Iterator

from superimap.db.models.mail import Outcome
from superimap.idler.sync import META_BATCH
from superimap.imap.errors import Gibberish, ImapError, LimitExceeded, OutOfStep, Refused

# What the server answered about a mail, rather than what became of the connection.
POISON = (Gibberish, LimitExceeded, Refused)
# Three answers that will not do, or twelve connections that broke as it was read: over a quarter of an hour.
ENOUGH = 12
ANSWERED = 4
BROKE = 1
# Glances that failed in a row, after which there are no more: not every server can hand over a part of a mail.
BLIND = 3


Known = tuple[int, int, int]
"""A mail as a session knows it again: UIDVALIDITY, UID, and what it is (`sync.identity`)."""


class Stumbles:
    """How often each mail has ended its session, and how many mails to ask about at once.

    `recorded` is what a look by date has recorded so far, which no cursor tells: each try gets further.
    """

    __slots__ = ("_announced", "_counts", "_glances", "batch", "recorded")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._announced: dict[int, int] = {}
        self._glances = 0
        self.batch = META_BATCH
        self.recorded: set[Known] = set()

    def note(self, uid: int, error: ImapError) -> None:
        """This mail has ended its session."""
        is_answer = isinstance(error, POISON) and not isinstance(error, OutOfStep)
        self._counts[uid] = self._counts.get(uid, 0) + (ANSWERED if is_answer else BROKE)
        if isinstance(error, LimitExceeded) and error.announced is not None:
            self._announced[uid] = error.announced

    def blame(self, uids: list[int], error: ImapError) -> None:
        """One of these has: ask about fewer at once, until it is known which."""
        if len(uids) == 1:
            self.note(uids[0], error)
        else:
            self.batch = max(1, min(self.batch, len(uids)) // 10)

    def given_up(self, uid: int) -> tuple[Outcome, str, int | None] | None:
        """Why to pass this mail over, if that is what to do, and the size that it was announced with."""
        if self._counts.get(uid, 0) < ENOUGH:
            return None
        if (size := self._announced.get(uid)) is not None:
            return (
                Outcome.TOO_BIG,
                f"the mail server announced {size} bytes each time it was to be read",
                size,
            )
        return Outcome.UNREADABLE, "the mail server failed again and again to hand it over", None

    @property
    def blinded(self) -> bool:
        """Whether to search for new mails, and not to read them at a glance."""
        return self._glances >= BLIND

    @contextlib.contextmanager
    def glancing(self) -> Iterator[None]:
        """Count what fails inside the block. A plain refusal, after which all is in step, is swallowed."""
        try:
            yield
        except Refused:
            self._glances += 1
        except ImapError:
            self._glances += 1
            raise
        else:
            self._glances = 0

    def forget(self) -> None:
        """All is recorded; past mails do not matter."""
        self._counts.clear()
        self._announced.clear()
        self.recorded.clear()
        self.batch = META_BATCH
