"""Which commands are there, and in which state is each allowed? (RFC 9051 section 6)"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from superimap.testing.imap import folders, login, messages

if TYPE_CHECKING:
    from superimap.testing.imap.session import Session
    from superimap.testing.imap.syntax import Command


class Entry(NamedTuple):
    """A command's handler, which returns the text of its OK or None if it answers later, and its states."""

    handler: Callable[[Session, Command], str | None]
    states: frozenset[str]


_NEW = frozenset({"not authenticated"})
_SELECTED = frozenset({"selected"})
_KNOWN = _SELECTED | {"authenticated"}
_ANY = _NEW | _KNOWN

COMMANDS: dict[str, Entry] = {
    "CAPABILITY": Entry(login.capability, _ANY),
    "NOOP": Entry(login.noop, _ANY),
    "LOGOUT": Entry(login.logout, _ANY),
    "ID": Entry(login.identify, _ANY),
    "STARTTLS": Entry(login.starttls, _NEW),
    "LOGIN": Entry(login.login, _NEW),
    "AUTHENTICATE": Entry(login.authenticate, _NEW),
    "ENABLE": Entry(login.enable, _KNOWN),
    "IDLE": Entry(login.idle, _KNOWN),
    "NAMESPACE": Entry(folders.namespace, _KNOWN),
    "LIST": Entry(folders.list_mailboxes, _KNOWN),
    "LSUB": Entry(folders.list_mailboxes, _KNOWN),
    "SUBSCRIBE": Entry(folders.subscribe, _KNOWN),
    "UNSUBSCRIBE": Entry(folders.subscribe, _KNOWN),
    "CREATE": Entry(folders.create, _KNOWN),
    "DELETE": Entry(folders.delete, _KNOWN),
    "RENAME": Entry(folders.rename, _KNOWN),
    "STATUS": Entry(folders.status, _KNOWN),
    "APPEND": Entry(folders.append, _KNOWN),
    "SELECT": Entry(folders.select, _KNOWN),
    "EXAMINE": Entry(folders.select, _KNOWN),
    "UNSELECT": Entry(folders.unselect, _SELECTED),
    "CLOSE": Entry(folders.close, _SELECTED),
    "CHECK": Entry(login.noop, _SELECTED),
    "SEARCH": Entry(messages.search, _SELECTED),
    "UID SEARCH": Entry(messages.search, _SELECTED),
    "FETCH": Entry(messages.fetch, _SELECTED),
    "UID FETCH": Entry(messages.fetch, _SELECTED),
    "STORE": Entry(messages.store, _SELECTED),
    "UID STORE": Entry(messages.store, _SELECTED),
    "COPY": Entry(messages.copy, _SELECTED),
    "UID COPY": Entry(messages.copy, _SELECTED),
    "MOVE": Entry(messages.copy, _SELECTED),
    "UID MOVE": Entry(messages.copy, _SELECTED),
    "EXPUNGE": Entry(messages.expunge, _SELECTED),
    "UID EXPUNGE": Entry(messages.expunge, _SELECTED),
}
