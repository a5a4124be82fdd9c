"""On which mails does a server fail? Counted over connections, so that no mail stops its mailbox for ever."""

import contextlib
import time
from collections.abc import Iterator

from superimap.domain.mails import MailOutcome
from superimap.idler import server_pauses
from superimap.idler.sync import META_BATCH
from superimap.imap.errors import ImapError, LimitExceeded, OutOfSync, ProtocolError, Refused
from superimap.imap.types import MessageMeta

# What the server answered about a mail, rather than what became of the connection.
POISON = (ProtocolError, LimitExceeded, Refused)
# Three answers that will not do, or twelve connections that broke as it was read: over a quarter of an hour.
ENOUGH = 12
ANSWERED = 4
BROKE = 1
# Connections that broke in a row, as many mails were asked about, before it is fewer.
BREAKS = 3
# Seconds that a server may put a mail off, as "unavailable" or "throttled", or break off as it is asked about, as
# all may during an outage: then that counts, too. Gmail shuts an account that reads too much for a day at most.
PATIENCE = 2 * 24 * 3600.0
# Glances that failed in a row, after which there are no more: not every server can hand over a part of a mail.
BLIND = 3

Known = tuple[int, int, int]
"""A mail as a session knows it again: UIDVALIDITY, UID, and what it is (`sync.identity`)."""


class ReadFailures:
    """How often each mail has ended its session, and how many mails to ask about at once.

    `recorded` is what a look by date has recorded so far, which no cursor tells: each try gets further. `top` is
    the last mail seen, its UID and what it is; `owes` says that mail was told of and no look has accounted for it.
    """

    __slots__ = (
        "_announced", "_breaks", "_counts", "_glances", "_metas", "_since", "_uid_validity", "batch",
        "owes", "recorded", "top",
    )  # fmt: skip

    def __init__(self) -> None:
        self._uid_validity = 0
        self._counts: dict[int, int] = {}
        self._announced: dict[int, int] = {}
        self._metas: dict[int, MessageMeta] = {}
        self._since: dict[int, float] = {}  # when it was put off first
        self._breaks = 0
        self._glances = 0
        self.batch = META_BATCH
        self.recorded: set[Known] = set()
        self.top: tuple[int, int] | None = None
        self.owes = False

    def begin(self, uid_validity: int) -> None:
        """UIDs are of this numbering now; what is known of another's means nothing."""
        if uid_validity != self._uid_validity:
            self.forget()
            self._uid_validity, self.top = uid_validity, None

    def note(self, uid: int, error: ImapError, meta: MessageMeta | None = None) -> None:
        """This mail has ended its session; `meta` is what was known of it if it was to be read."""
        if meta is not None:
            self._metas[uid] = meta
        now, is_put_off = (
            time.monotonic(),
            server_pauses.is_temporary(error) or (meta is None and not _is_answer(error)),
        )
        if is_put_off and now - self._since.setdefault(uid, now) < PATIENCE:
            return
        self._counts[uid] = self._counts.get(uid, 0) + (ANSWERED if _is_answer(error) else BROKE)
        if isinstance(error, LimitExceeded) and error.announced is not None:
            self._announced[uid] = error.announced

    def blame(self, uids: list[int], error: ImapError) -> None:
        """One of these has: ask about fewer at once, until it is known which."""
        if len(uids) == 1:
            self.note(uids[0], error)
        elif not server_pauses.is_temporary(error):
            self._breaks += 1
            if _is_answer(error) or self._breaks % BREAKS == 0:
                self.batch = max(1, min(self.batch, len(uids)) // 10)

    def given_up(self, uid: int) -> tuple[MailOutcome, str, int | None] | None:
        """Why to pass this mail over, if that is what to do, and the size that it was announced with."""
        if self._counts.get(uid, 0) < ENOUGH:
            return None
        if (size := self._announced.get(uid)) is not None:
            return (
                MailOutcome.TOO_BIG,
                f"the mail server announced {size} bytes each time it was to be read",
                size,
            )
        return MailOutcome.UNREADABLE, "the mail server failed again and again to hand it over", None

    def meta_of(self, uid: int) -> MessageMeta | None:
        """What was known of a mail that could not be read."""
        return self._metas.get(uid)

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
        for known in (self._counts, self._announced, self._metas, self._since, self.recorded):
            known.clear()
        self._breaks = 0
        self.batch = META_BATCH


def _is_answer(error: ImapError) -> bool:
    return isinstance(error, POISON) and not isinstance(error, OutOfSync)
