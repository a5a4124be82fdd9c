"""What does an account hold? Mailboxes, their messages, and who is told when they change."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from typing import Protocol

MAX_UID = 2**32 - 1
_by_uid = attrgetter("uid")


@dataclass(slots=True, eq=False)
class FakeMessage:
    """A message as a mailbox keeps it; `flags` and `labels` are replaced, never changed in place."""

    uid: int
    internal_date: datetime
    raw: bytes
    flags: frozenset[str] = frozenset()
    labels: tuple[str, ...] = ()


class MailboxListener(Protocol):
    """Whoever has a mailbox selected."""

    def appended(self) -> None:
        """New messages stand at the end."""

    def expunging(self, index: int, message: FakeMessage) -> None:
        """`message`, at `index` counted from 0, is about to go."""

    def flagged(self, message: FakeMessage) -> None:
        """The flags of `message` are other ones now."""

    def renumbered(self) -> None:
        """UIDVALIDITY and every UID are other ones now."""

    def removed(self) -> None:
        """The mailbox was deleted or renamed."""


class FakeMailbox:
    """One mailbox: messages ascending by UID. Every change is told to the sessions that have it selected."""

    __slots__ = (
        "_uidnext", "listeners", "messages", "name", "recent_from", "selectable", "special_use",
        "uidvalidity",
    )  # fmt: skip

    def __init__(
        self, name: str, *, uidvalidity: int = 1, special_use: str | None = None, selectable: bool = True
    ) -> None:
        """`special_use` is an attribute such as `\\Sent` (RFC 6154); if not `selectable`, \\Noselect is."""
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
        """The UID of the next message. Set it higher to leave a gap; ValueError if UIDs lost their order."""
        return self._uidnext

    @uidnext.setter
    def uidnext(self, uid: int) -> None:
        last = self.messages[-1].uid if self.messages else 0
        if not last < uid <= MAX_UID:
            raise ValueError(f"UIDNEXT must be above {last} and a uint32, not {uid}")
        self._uidnext = uid

    def append(
        self,
        raw: bytes,
        internal_date: datetime | None = None,
        flags: Iterable[str] = (),
        *,
        labels: Iterable[str] = (),
    ) -> int:
        """Add a message and return its UID; `internal_date` needs a zone and defaults to now.

        Raises OverflowError when the UIDs (uint32) are used up.
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
        """The message under `uid`, or None if there is none (any more)."""
        index = bisect_left(self.messages, uid, key=_by_uid)
        found = self.messages[index] if index < len(self.messages) else None
        return found if found is not None and found.uid == uid else None

    def expunge(self, uid: int) -> None:
        """Remove a message; KeyError if there is none under `uid`."""
        message = self.get(uid)
        if message is None:
            raise KeyError(uid)
        index = bisect_left(self.messages, uid, key=_by_uid)
        for listener in tuple(self.listeners):
            listener.expunging(index, message)
        del self.messages[index]

    def set_flags(self, uid: int, flags: Iterable[str], *, teller: MailboxListener | None = None) -> None:
        """Replace the flags of a message, telling everybody but `teller`; KeyError if there is none."""
        message = self.get(uid)
        if message is None:
            raise KeyError(uid)
        changed = frozenset(flags)
        if changed == message.flags:
            return
        message.flags = changed
        for listener in tuple(self.listeners):
            if listener is not teller:
                listener.flagged(message)

    def set_uidvalidity(self, uidvalidity: int) -> None:
        """Begin a new UIDVALIDITY: messages are numbered from 1 again, sessions in it end with a BYE.

        A UID may not change within a session (RFC 3501 section 2.3.1.1), so a lawful server ends it.
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
    """A login and its mailboxes by name; INBOX is always there.

    `tokens` are the access tokens that XOAUTH2 and OAUTHBEARER accept. `gmail` adds X-GM-LABELS.
    """

    username: str
    password: str
    tokens: set[str] = field(default_factory=set)
    gmail: bool = False
    mailboxes: dict[str, FakeMailbox] = field(default_factory=lambda: {"INBOX": FakeMailbox("INBOX")})

    @property
    def inbox(self) -> FakeMailbox:
        """The mailbox INBOX."""
        return self.mailboxes["INBOX"]

    def find(self, name: str) -> FakeMailbox | None:
        """The mailbox of that name (INBOX in any case), or None."""
        return self.mailboxes.get("INBOX" if name.upper() == "INBOX" else name)

    def create(self, name: str, *, special_use: str | None = None, selectable: bool = True) -> FakeMailbox:
        """Add a mailbox, `/` between the levels of its name; ValueError if there is one."""
        if self.find(name) is not None:
            raise ValueError(f"there is a mailbox {name!r}")
        self.mailboxes[name] = mailbox = FakeMailbox(name, special_use=special_use, selectable=selectable)
        return mailbox

    def delete(self, name: str) -> None:
        """Remove a mailbox, ending the sessions that have it selected; KeyError if there is none."""
        mailbox = self.mailboxes.pop(name)
        for listener in tuple(mailbox.listeners):
            listener.removed()

    def rename(self, name: str, new: str) -> None:
        """Rename a mailbox; sessions that have it selected keep it (KeyError, ValueError as above)."""
        if self.find(new) is not None:
            raise ValueError(f"there is a mailbox {new!r}")
        mailbox = self.mailboxes.pop(name)
        mailbox.name = new
        self.mailboxes[new] = mailbox
