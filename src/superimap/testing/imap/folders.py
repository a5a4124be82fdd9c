"""Commands on mailboxes: LIST, SELECT, STATUS, APPEND, CREATE, DELETE, RENAME and others."""

from __future__ import annotations

import re

from superimap.testing.imap.mailbox import FakeAccount, FakeMailbox
from superimap.testing.imap.names import decode_name, encode_name
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import Argument, Bad, ClientCommand, No, parse_date_time, string

FLAGS = r"(\Answered \Flagged \Deleted \Seen \Draft)"
_WILDCARDS = re.compile(r"([*%])")


def account_of(session: FakeSession) -> FakeAccount:
    """Return the account of a session that is logged in."""
    assert session.account is not None  # noqa: S101 - the command is valid after login only
    return session.account


def mailbox_name(session: FakeSession, wire: bytes) -> str:
    """Decode a mailbox name that the client sent. Raises Bad if it is malformed."""
    try:
        return wire.decode("utf-8") if session.utf8 else decode_name(wire)
    except ValueError as error:
        raise Bad("Mailbox name is not modified UTF-7") from error


def find_mailbox(
    session: FakeSession, command: ClientCommand, index: int, *, missing: str = "NONEXISTENT"
) -> FakeMailbox:
    """Return the mailbox that an argument names. Raises No with the code `missing` if it does not exist."""
    mailbox = account_of(session).find(mailbox_name(session, command.text(index)))
    if mailbox is None:
        raise No(f"[{missing}] No such mailbox")
    return mailbox


def flags_of(argument: Argument) -> frozenset[str]:
    """Parse the flags of STORE or APPEND: system flags in their usual case, without \\Recent."""
    words = argument if isinstance(argument, list) else [argument]
    flags = set()
    for word in words:
        if not isinstance(word, bytes):
            raise Bad("Invalid flags")
        flag = word.decode("latin-1")
        flags.add("\\" + flag[1:].capitalize() if flag.startswith("\\") else flag)
    return frozenset(flags - {"\\Recent"})


def write_name(session: FakeSession, name: str) -> bytes:
    """Return a mailbox name as the session is sent it."""
    if not session.utf8:
        return string(encode_name(name))
    return b'"%s"' % name.replace("\\", "\\\\").replace('"', '\\"').encode("utf-8")


def namespace(session: FakeSession, _command: ClientCommand) -> str:
    session.send(b'* NAMESPACE (("" "/")) NIL NIL\r\n')
    return "NAMESPACE completed"


def list_mailboxes(session: FakeSession, command: ClientCommand) -> str:
    """LIST and LSUB, with selection options such as (SPECIAL-USE) (RFC 5258, 6154)."""
    options, arguments = command.arguments[:1], command.arguments
    only_special = False
    if options and isinstance(options[0], list):
        words = [option.upper() for option in options[0] if isinstance(option, bytes)]
        only_special = b"SPECIAL-USE" in words
        arguments = arguments[1:]
    if len(arguments) < 2 or not isinstance(arguments[0], bytes):
        raise Bad("LIST needs a reference and a pattern")
    patterns = arguments[1] if isinstance(arguments[1], list) else [arguments[1]]
    if patterns == [b""]:
        session.send(b'* %s (\\Noselect) "/" ""\r\n' % command.name.encode())
        return f"{command.name} completed"
    wanted = [_pattern(mailbox_name(session, arguments[0] + p)) for p in patterns if isinstance(p, bytes)]
    for mailbox in account_of(session).mailboxes.values():
        if only_special and mailbox.special_use is None:
            continue
        if any(pattern.fullmatch(mailbox.name) for pattern in wanted):
            session.send(_list_line(session, command.name, mailbox))
    return f"{command.name} completed"


def _pattern(text: str) -> re.Pattern[str]:
    pieces = {"*": ".*", "%": "[^/]*"}
    pattern = "".join(pieces.get(piece, re.escape(piece)) for piece in _WILDCARDS.split(text))
    return re.compile(pattern, re.DOTALL | (re.IGNORECASE if text.upper() == "INBOX" else 0))


def _list_line(session: FakeSession, name: str, mailbox: FakeMailbox) -> bytes:
    names = account_of(session).mailboxes
    below = any(other.startswith(mailbox.name + "/") for other in names)
    attributes = ["\\HasChildren" if below else "\\HasNoChildren"]
    if not mailbox.selectable:
        attributes.append("\\Noselect")
    if mailbox.special_use is not None:
        attributes.append(mailbox.special_use)
    written = write_name(session, mailbox.name)
    return b'* %s (%s) "/" %s\r\n' % (name.encode(), " ".join(attributes).encode(), written)


def subscribe(session: FakeSession, command: ClientCommand) -> str:
    find_mailbox(session, command, 0)
    return f"{command.name} completed"


def create(session: FakeSession, command: ClientCommand) -> str:
    try:
        account_of(session).create(mailbox_name(session, command.text(0)).rstrip("/"))
    except ValueError as error:
        raise No("[ALREADYEXISTS] There is a mailbox of that name") from error
    return "CREATE completed"


def delete(session: FakeSession, command: ClientCommand) -> str:
    mailbox = find_mailbox(session, command, 0)
    if mailbox.name == "INBOX":
        raise No("[CANNOT] INBOX cannot be deleted")
    if session.mailbox is mailbox:
        session.leave()
    account_of(session).delete(mailbox.name)
    return "DELETE completed"


def rename(session: FakeSession, command: ClientCommand) -> str:
    mailbox = find_mailbox(session, command, 0)
    if mailbox.name == "INBOX":
        raise No("[CANNOT] INBOX cannot be renamed here")
    try:
        account_of(session).rename(mailbox.name, mailbox_name(session, command.text(1)))
    except ValueError as error:
        raise No("[ALREADYEXISTS] There is a mailbox of that name") from error
    return "RENAME completed"


def status(session: FakeSession, command: ClientCommand) -> str:
    """STATUS (RFC 9051 section 6.3.11)."""
    mailbox = find_mailbox(session, command, 0)
    wanted = command.arguments[1] if len(command.arguments) > 1 else None
    if not isinstance(wanted, list) or not wanted:
        raise Bad("STATUS needs a list of items")
    words = []
    for item in wanted:
        if not isinstance(item, bytes) or (value := _status_item(mailbox, item.upper())) is None:
            raise Bad("Unknown STATUS item")
        words.append(b"%s %d" % (item.upper(), value))
    session.send(b"* STATUS %s (%s)\r\n" % (write_name(session, mailbox.name), b" ".join(words)))
    return "STATUS completed"


def _status_item(mailbox: FakeMailbox, item: bytes) -> int | None:
    messages = mailbox.messages
    match item:
        case b"RECENT":
            return sum(message.uid >= mailbox.recent_from for message in messages)
        case b"UNSEEN":
            return sum("\\Seen" not in message.flags for message in messages)
        case b"SIZE":
            return sum(len(message.raw) for message in messages)
    known = {b"MESSAGES": len(messages), b"UIDNEXT": mailbox.uidnext, b"UIDVALIDITY": mailbox.uidvalidity}
    return known.get(item)


def select(session: FakeSession, command: ClientCommand) -> str:
    """SELECT and EXAMINE. If refused, no mailbox is selected afterwards (RFC 9051 section 6.3.2)."""
    session.leave()
    mailbox = find_mailbox(session, command, 0)
    if not mailbox.selectable:
        raise No("[NONEXISTENT] Mailbox cannot be selected")
    read_only = command.name == "EXAMINE"
    session.enter(mailbox, read_only=read_only)
    unseen = next((n for n, m in enumerate(mailbox.messages, 1) if "\\Seen" not in m.flags), None)
    session.send(
        b"* FLAGS %s\r\n* %d EXISTS\r\n* %d RECENT\r\n" % (FLAGS.encode(), len(mailbox), session.recent())
        + (b"* OK [UNSEEN %d] First unseen\r\n" % unseen if unseen else b"")
        + b"* OK [UIDVALIDITY %d] UIDs valid\r\n" % mailbox.uidvalidity
        + b"* OK [UIDNEXT %d] Predicted next UID\r\n" % mailbox.uidnext
        + b"* OK [PERMANENTFLAGS (%s)] Limited\r\n" % (b"" if read_only else FLAGS[1:-1].encode() + b" \\*")
    )
    return f"[{'READ-ONLY' if read_only else 'READ-WRITE'}] {command.name} completed"


def unselect(session: FakeSession, _command: ClientCommand) -> str:
    session.leave()
    return "UNSELECT completed"


def close(session: FakeSession, _command: ClientCommand) -> str:
    """CLOSE. Expunges the deleted messages without responses, but not after EXAMINE (RFC 9051 section 6.4.1)."""
    mailbox, read_only = session.mailbox, session.read_only
    session.leave()
    if mailbox is not None and not read_only:
        for message in [m for m in mailbox.messages if "\\Deleted" in m.flags]:
            mailbox.expunge(message.uid)
    return "CLOSE completed"


def append(session: FakeSession, command: ClientCommand) -> str:
    """APPEND, with APPENDUID (RFC 4315)."""
    mailbox = find_mailbox(session, command, 0, missing="TRYCREATE")
    options, raw = command.arguments[1:-1], command.arguments[-1]
    if len(command.arguments) < 2 or not isinstance(raw, bytes):
        raise Bad("APPEND needs a mailbox and a literal")
    flags, moment = frozenset[str](), None
    for option in options:
        if isinstance(option, list):
            flags = flags_of(option)
        else:
            moment = parse_date_time(option)
    uid = mailbox.append(raw, moment, flags)
    return f"[APPENDUID {mailbox.uidvalidity} {uid}] APPEND completed"
