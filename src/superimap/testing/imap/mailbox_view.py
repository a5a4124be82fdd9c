"""A session's view of its selected mailbox: what the client knows, and the changes that it does not know yet."""

from bisect import bisect_left
from operator import attrgetter

from superimap.testing.imap.connection import ServerConnection
from superimap.testing.imap.mailbox import FakeMailbox, FakeMessage

_by_uid = attrgetter("uid")


def flag_list(recent_from: int, message: FakeMessage) -> bytes:
    """Format the flags of a message in parentheses, with \\Recent from the UID `recent_from` on."""
    flags = sorted(message.flags)
    if message.uid >= recent_from:
        flags.append("\\Recent")
    return f"({' '.join(flags)})".encode("latin-1")


class MailboxView(ServerConnection):
    """A connection's view of its mailbox, which changes only when a response reports a change to the client.

    The view is the first `_exists` messages of the mailbox, which takes no memory. Only while an EXPUNGE is
    unreported does it keep a list of its own.
    """

    __slots__ = ("_exists", "_expunged", "_flagged", "_view", "mailbox", "read_only", "recent_from")

    def __init__(self) -> None:
        super().__init__()
        self.mailbox: FakeMailbox | None = None
        self.read_only = False
        self.recent_from = 1
        self._exists = 0
        self._view: list[FakeMessage] | None = None
        self._expunged: list[FakeMessage] | None = None
        self._flagged: dict[FakeMessage, None] | None = None

    @property
    def pushes(self) -> bool:
        """Whether a change may be sent now, without a command."""
        raise NotImplementedError

    def push(self, data: bytes) -> None:
        """Send a change without a command."""
        raise NotImplementedError

    @property
    def messages(self) -> list[FakeMessage]:
        """The messages by sequence number, counted from 0, as the client knows them."""
        if self._view is not None:
            return self._view
        return [] if self.mailbox is None else self.mailbox.messages[: self._exists]

    def enter(self, mailbox: FakeMailbox, *, read_only: bool) -> None:
        """Select `mailbox`. Only a read-write session removes \\Recent for later sessions."""
        self.leave()
        self.mailbox, self.read_only = mailbox, read_only
        self._exists = len(mailbox)
        self.recent_from = mailbox.recent_from
        if not read_only:
            mailbox.recent_from = mailbox.uidnext
        mailbox.listeners.add(self)

    def leave(self) -> None:
        """Deselect the mailbox."""
        if self.mailbox is not None:
            self.mailbox.listeners.discard(self)
        self.mailbox = self._view = self._expunged = self._flagged = None
        self._exists = 0

    def notices(self, *, expunges: bool = True) -> bytes:
        """Return the pending untagged responses (EXPUNGE, EXISTS, FETCH FLAGS), and count them as reported."""
        if self.mailbox is None:
            return b""
        out = self._report_expunges() if expunges and self._expunged else []
        known = self._exists if self._view is None else len(self._view) - len(self._expunged or ())
        if known < len(self.mailbox):
            if self._view is not None:
                self._view.extend(self.mailbox.messages[known:])
            self._exists = len(self.mailbox) if self._view is None else len(self._view)
            if not self.read_only:
                self.mailbox.recent_from = self.mailbox.uidnext
            out.append(b"* %d EXISTS\r\n* %d RECENT\r\n" % (self._exists, self.recent()))
        flagged, self._flagged = self._flagged, None
        for message in flagged or ():
            index = self.index(message)
            if index is not None:
                out.append(
                    b"* %d FETCH (UID %d FLAGS %s)\r\n"
                    % (index + 1, message.uid, flag_list(self.recent_from, message))
                )
        return b"".join(out)

    def _report_expunges(self) -> list[bytes]:
        out = []
        view = self._view or []
        for message in self._expunged or ():
            index = bisect_left(view, message.uid, key=_by_uid)
            out.append(b"* %d EXPUNGE\r\n" % (index + 1))
            del view[index]
        self._exists = len(view)
        self._view = self._expunged = None
        return out

    def recent(self) -> int:
        """Return the number of \\Recent messages in the view."""
        view = self._view if self._view is not None or self.mailbox is None else self.mailbox.messages
        return self._exists - bisect_left(view or (), self.recent_from, 0, self._exists, key=_by_uid)

    def index(self, message: FakeMessage) -> int | None:
        """Return the position of `message` in the view, counted from 0, or None if the client does not know it."""
        view = self._view if self._view is not None or self.mailbox is None else self.mailbox.messages
        if view is None:
            return None
        index = bisect_left(view, message.uid, 0, self._exists, key=_by_uid)
        return index if index < self._exists and view[index] is message else None

    # MailboxListener.

    def appended(self) -> None:
        if self.pushes:
            self.push(self.notices())

    def expunging(self, index: int, message: FakeMessage) -> None:
        if self.mailbox is None or self.index(message) is None:
            return
        if self._view is None:
            self._view = self.mailbox.messages[: self._exists]
            self._expunged = []
        assert self._expunged is not None  # noqa: S101 - set and cleared together with `_view`
        self._expunged.append(message)
        if self.pushes:  # EXPUNGE alone: the mailbox still holds the message, so EXISTS cannot be counted
            self.push(b"".join(self._report_expunges()))

    def flagged(self, message: FakeMessage) -> None:
        if self._flagged is None:
            self._flagged = {}
        self._flagged[message] = None
        if self.pushes:
            self.push(self.notices())

    def renumbered(self) -> None:
        self._view = self._expunged = self._flagged = None
        self.send(b"* BYE UIDVALIDITY changed\r\n")
        self.close()

    def removed(self) -> None:
        self.send(b"* BYE Mailbox was deleted\r\n")
        self.close()
