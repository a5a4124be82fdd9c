"""Table of commands: the handler of each, and the session states in which it is valid (RFC 9051 section 6)."""

from superimap.testing.imap import folders, login, messages, notify
from superimap.testing.imap.session import Handler

_NEW = frozenset({"not authenticated"})
_SELECTED = frozenset({"selected"})
_KNOWN = _SELECTED | {"authenticated"}
_ANY = _NEW | _KNOWN

COMMANDS: dict[str, Handler] = {
    "CAPABILITY": Handler(login.capability, _ANY),
    "NOOP": Handler(login.noop, _ANY),
    "LOGOUT": Handler(login.logout, _ANY),
    "ID": Handler(login.identify, _ANY),
    "STARTTLS": Handler(login.starttls, _NEW),
    "LOGIN": Handler(login.login, _NEW),
    "AUTHENTICATE": Handler(login.authenticate, _NEW),
    "ENABLE": Handler(login.enable, _KNOWN),
    "IDLE": Handler(login.idle, _KNOWN),
    "NOTIFY": Handler(notify.notify, _KNOWN),
    "NAMESPACE": Handler(folders.namespace, _KNOWN),
    "LIST": Handler(folders.list_mailboxes, _KNOWN),
    "LSUB": Handler(folders.list_mailboxes, _KNOWN),
    "SUBSCRIBE": Handler(folders.subscribe, _KNOWN),
    "UNSUBSCRIBE": Handler(folders.subscribe, _KNOWN),
    "CREATE": Handler(folders.create, _KNOWN),
    "DELETE": Handler(folders.delete, _KNOWN),
    "RENAME": Handler(folders.rename, _KNOWN),
    "STATUS": Handler(folders.status, _KNOWN),
    "APPEND": Handler(folders.append, _KNOWN),
    "SELECT": Handler(folders.select, _KNOWN),
    "EXAMINE": Handler(folders.select, _KNOWN),
    "UNSELECT": Handler(folders.unselect, _SELECTED),
    "CLOSE": Handler(folders.close, _SELECTED),
    "CHECK": Handler(login.noop, _SELECTED),
    "SEARCH": Handler(messages.search, _SELECTED),
    "UID SEARCH": Handler(messages.search, _SELECTED),
    "FETCH": Handler(messages.fetch, _SELECTED),
    "UID FETCH": Handler(messages.fetch, _SELECTED),
    "STORE": Handler(messages.store, _SELECTED),
    "UID STORE": Handler(messages.store, _SELECTED),
    "COPY": Handler(messages.copy, _SELECTED),
    "UID COPY": Handler(messages.copy, _SELECTED),
    "MOVE": Handler(messages.copy, _SELECTED),
    "UID MOVE": Handler(messages.copy, _SELECTED),
    "EXPUNGE": Handler(messages.expunge, _SELECTED),
    "UID EXPUNGE": Handler(messages.expunge, _SELECTED),
}
