"""Accounts, mailboxes and messages; a mailbox notifies the sessions that have it selected of every change."""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from typing import Protocol

MAX_UID = 2**63 - 1
"""RFC 9051 section 9 allows 32 bits; some servers exceed them."""
_by_uid = attrgetter("uid")


@dataclass(slots=True, eq=False)
class FakeMessage:
    """A message in a mailbox. `flags` and `labels` are replaced, never changed in place."""

    uid: int
    internal_date: datetime
    raw: bytes
    flags: frozenset[str] = frozenset()
    labels: tuple[str, ...] = ()


class MailboxListener(Protocol):
    """Receives the changes of a mailbox; implemented by sessions that have it selected."""

    def appended(self) -> None:
        """New messages have been appended."""

    def expunging(self, index: int, message: FakeMessage) -> None:
        """`message`, at `index` counted from 0, is about to be expunged."""

    def flagged(self, message: FakeMessage) -> None:
        """The flags of `message` have changed."""

    def renumbered(self) -> None:
        """UIDVALIDITY and every UID have changed."""

    def removed(self) -> None:
        """The mailbox was deleted or renamed."""


class FakeMailbox:
    """A mailbox: messages ascending by UID. Every change is reported to its listeners."""

    __slots__ = (
        "_uidnext", "listeners", "messages", "name", "recent_from", "selectable", "special_use",
        "uidvalidity",
    )  # fmt: skip

    def __init__(
        self, name: str, *, uidvalidity: int = 1, special_use: str | None = None, selectable: bool = True
    ) -> None:
        """`special_use` is an attribute such as `\\Sent` (RFC 6154).

        A mailbox that is not `selectable` has \\Noselect.
        """
        self.name = name
        self.uidvalidity = uidvalidity
        self.special_use = special_use
        self.selectable = selectable
        self.messages: list[FakeMessage] = []
        self.listeners: set[MailboxListener] = set()
        self.recent_from = 1
        self._uidnext = 1

    def __len__(self) -> int:
        return len(self.messages)

    @property
    def uidnext(self) -> int:
        """The UID of the next message. Set it higher to leave a gap. Raises ValueError if it breaks the order."""
        return self._uidnext

    @uidnext.setter
    def uidnext(self, uid: int) -> None:
        last = self.messages[-1].uid if self.messages else 0
        if not last < uid <= MAX_UID:
            raise ValueError(f"UIDNEXT must be above {last} and of 63 bits, not {uid}")
        self._uidnext = uid

    def append(
        self,
        raw: bytes,
        internal_date: datetime | None = None,
        flags: Iterable[str] = (),
        *,
        labels: Iterable[str] = (),
    ) -> int:
        """Add a message and return its UID. `internal_date` needs a time zone, and defaults to now.

        Raises OverflowError when the UIDs (63 bits) are used up.
        """
        if self._uidnext > MAX_UID:
            raise OverflowError("no UID is left")
        moment = internal_date or datetime.now(UTC)
        message = FakeMessage(self._uidnext, moment, raw, frozenset(flags), tuple(labels))
        self.messages.append(message)
        self._uidnext += 1
        for listener in tuple(self.listeners):
            listener.appended()
        return message.uid

    def get(self, uid: int) -> FakeMessage | None:
        """Return the message with this UID, or None."""
        index = bisect_left(self.messages, uid, key=_by_uid)
        found = self.messages[index] if index < len(self.messages) else None
        return found if found is not None and found.uid == uid else None

    def expunge(self, uid: int) -> None:
        """Remove a message. Raises KeyError if no message has this UID."""
        message = self.get(uid)
        if message is None:
            raise KeyError(uid)
        index = bisect_left(self.messages, uid, key=_by_uid)
        for listener in tuple(self.listeners):
            listener.expunging(index, message)
        del self.messages[index]

    def set_flags(self, uid: int, flags: Iterable[str], *, source: MailboxListener | None = None) -> None:
        """Replace the flags of a message, and notify all listeners but `source`.

        Raises KeyError if there is none.
        """
        message = self.get(uid)
        if message is None:
            raise KeyError(uid)
        changed = frozenset(flags)
        if changed == message.flags:
            return
        message.flags = changed
        for listener in tuple(self.listeners):
            if listener is not source:
                listener.flagged(message)

    def set_uidvalidity(self, uidvalidity: int) -> None:
        """Set a new UIDVALIDITY: number the messages from 1 again, and end the sessions in the mailbox with a BYE.

        A UID must not change within a session (RFC 3501 section 2.3.1.1), so a correct server ends it.
        """
        self.uidvalidity = uidvalidity
        for uid, message in enumerate(self.messages, start=1):
            message.uid = uid
        self._uidnext = len(self.messages) + 1
        self.recent_from = 1
        for listener in tuple(self.listeners):
            listener.renumbered()


@dataclass(slots=True, eq=False)
class FakeAccount:
    """A login and its mailboxes by name. INBOX always exists.

    `tokens` are the access tokens that XOAUTH2 and OAUTHBEARER accept. `gmail` adds X-GM-LABELS.
    """

    username: str
    password: str
    tokens: set[str] = field(default_factory=set)
    gmail: bool = False
    mailboxes: dict[str, FakeMailbox] = field(default_factory=lambda: {"INBOX": FakeMailbox("INBOX")})
    on_name: set[Callable[[str, str | None], None]] | None = None
    """Called with the name of each mailbox that is created or renamed, and with its old name, if it had one."""

    @property
    def inbox(self) -> FakeMailbox:
        """The mailbox INBOX."""
        return self.mailboxes["INBOX"]

    def find(self, name: str) -> FakeMailbox | None:
        """Return the mailbox of this name (INBOX in any case), or None."""
        return self.mailboxes.get("INBOX" if name.upper() == "INBOX" else name)

    def create(self, name: str, *, special_use: str | None = None, selectable: bool = True) -> FakeMailbox:
        """Add a mailbox; `/` separates the levels of its name. Raises ValueError if it exists."""
        if self.find(name) is not None:
            raise ValueError(f"the mailbox {name!r} exists already")
        self.mailboxes[name] = mailbox = FakeMailbox(name, special_use=special_use, selectable=selectable)
        self._named(name, None)
        return mailbox

    def delete(self, name: str) -> None:
        """Remove a mailbox, and end the sessions that have it selected. Raises KeyError if it does not exist."""
        mailbox = self.mailboxes.pop(name)
        for listener in tuple(mailbox.listeners):
            listener.removed()

    def rename(self, name: str, new: str) -> None:
        """Rename a mailbox. Sessions that have it selected keep it. Raises KeyError and ValueError as above."""
        if self.find(new) is not None:
            raise ValueError(f"the mailbox {new!r} exists already")
        mailbox = self.mailboxes.pop(name)
        mailbox.name = new
        self.mailboxes[new] = mailbox
        self._named(new, name)

    def _named(self, name: str, old: str | None) -> None:
        for call in tuple(self.on_name or ()):
            call(name, old)
