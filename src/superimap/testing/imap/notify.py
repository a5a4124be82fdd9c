"""NOTIFY (RFC 5465): announcements of mailboxes that are not selected."""

from __future__ import annotations

from superimap.testing.imap.folders import account_of, mailbox_name, write_name
from superimap.testing.imap.mailbox import FakeAccount, FakeMailbox, FakeMessage
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import Argument, Bad, ClientCommand


class Announcer:
    """Announces the new mails of one mailbox to a session that has not selected it."""

    __slots__ = ("_mailbox", "_session")

    def __init__(self, session: FakeSession, mailbox: FakeMailbox) -> None:
        self._session = session
        self._mailbox = mailbox
        mailbox.listeners.add(self)

    def end(self) -> None:
        """Announce nothing any more."""
        self._mailbox.listeners.discard(self)

    def appended(self) -> None:
        mailbox, session = self._mailbox, self._session
        if session.mailbox is not mailbox:
            name = write_name(session, mailbox.name)
            session.announce(
                b"* STATUS %s (MESSAGES %d UIDNEXT %d)\r\n" % (name, len(mailbox), mailbox.uidnext)
            )

    def expunging(self, index: int, message: FakeMessage) -> None:
        pass

    def flagged(self, message: FakeMessage) -> None:
        pass

    def renumbered(self) -> None:
        mailbox, session = self._mailbox, self._session
        if session.mailbox is not mailbox:
            name = write_name(session, mailbox.name)
            session.announce(b"* STATUS %s (UIDVALIDITY %d)\r\n" % (name, mailbox.uidvalidity))

    def removed(self) -> None:
        name = write_name(self._session, self._mailbox.name)
        self._session.announce(b'* LIST (\\NonExistent) "/" %s\r\n' % name)
        self.end()


class NameAnnouncer:
    """Announces the names of mailboxes that are created or renamed."""

    __slots__ = ("_account", "_call")

    def __init__(self, session: FakeSession, account: FakeAccount) -> None:
        def announce(name: str, old: str | None) -> None:
            before = b"" if old is None else b' ("OLDNAME" (%s))' % write_name(session, old)
            session.announce(b'* LIST () "/" %s%s\r\n' % (write_name(session, name), before))

        self._account, self._call = account, announce
        account.on_name = (account.on_name or set()) | {announce}

    def end(self) -> None:
        """Announce nothing any more."""
        if self._account.on_name is not None:
            self._account.on_name.discard(self._call)


def notify(session: FakeSession, command: ClientCommand) -> str:
    """NOTIFY SET with MAILBOXES, and NOTIFY NONE. New mails and names are announced, whatever the events are."""
    if "NOTIFY" not in session.server.capabilities:
        raise Bad("Unknown command")
    session.end_announcements()
    if command.text(0).upper() == b"SET":
        wanted = [mailbox_name(session, name) for group in command.arguments[1:] for name in _names(group)]
        account = account_of(session)
        found = (account.find(name) for name in wanted)
        boxes = [Announcer(session, mailbox) for mailbox in found if mailbox is not None]
        session.announcers = [*boxes, NameAnnouncer(session, account)]
    return "NOTIFY completed"


def _names(group: Argument) -> list[bytes]:
    """Return the mailboxes of an event group such as (MAILBOXES ("a" "b") (MessageNew MessageExpunge))."""
    if not isinstance(group, list) or len(group) < 2 or not isinstance(group[0], bytes):
        return []
    if group[0].upper() != b"MAILBOXES":
        return []
    names = group[1] if isinstance(group[1], list) else [group[1]]
    return [name for name in names if isinstance(name, bytes)]
