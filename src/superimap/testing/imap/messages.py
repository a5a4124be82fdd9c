"""Commands on messages: SEARCH, FETCH, STORE, COPY, MOVE and EXPUNGE, and their UID forms."""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter

from superimap.testing.imap.fetch import fetch_line, parse_items
from superimap.testing.imap.folders import account_of, find_mailbox, flags_of
from superimap.testing.imap.mailbox import FakeMailbox, FakeMessage
from superimap.testing.imap.mailbox_view import flag_list
from superimap.testing.imap.search import search_numbers
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import Bad, ClientCommand, No, number_set, write_set

_by_uid = attrgetter("uid")


def _mailbox(session: FakeSession) -> FakeMailbox:
    assert session.mailbox is not None  # noqa: S101 - the command is valid in selected state only
    return session.mailbox


def _writable(session: FakeSession) -> FakeMailbox:
    if session.read_only:
        raise No("[READ-ONLY] The mailbox is open by EXAMINE")
    return _mailbox(session)


def _named(session: FakeSession, command: ClientCommand) -> list[tuple[int, FakeMessage]]:
    """Return sequence number and message of each message in the set that is the first argument."""
    view = session.messages
    by_uid = command.name.startswith("UID ")
    last = (view[-1].uid if view else 0) if by_uid else len(view)
    chosen: set[int] = set()
    for numbers in number_set(command.text(0), last):
        if by_uid:
            first = bisect_left(view, numbers.start, key=_by_uid)
            chosen.update(range(first, bisect_left(view, numbers.stop, key=_by_uid)))
        elif numbers.start < 1 or numbers.stop > len(view) + 1:
            raise Bad("No such sequence number")
        else:
            chosen.update(range(numbers.start - 1, numbers.stop - 1))
    return [(index + 1, view[index]) for index in sorted(chosen)]


def search(session: FakeSession, command: ClientCommand) -> str:
    """SEARCH, with RETURN (MIN MAX ALL COUNT) of ESEARCH (RFC 4731)."""
    by_uid = command.name == "UID SEARCH"
    arguments = list(command.arguments)
    wanted: list[bytes] | None = None
    if arguments[:1] and isinstance(arguments[0], bytes) and arguments[0].upper() == b"RETURN":
        if len(arguments) < 2 or not isinstance(arguments[1], list):
            raise Bad("RETURN needs a list")
        wanted = [word.upper() for word in arguments[1] if isinstance(word, bytes)] or [b"ALL"]
        arguments = arguments[2:]
    numbers = search_numbers(session, arguments, by_uid=by_uid)
    if wanted is None:
        session.send(b"".join([b"* SEARCH", *(b" %d" % number for number in numbers), b"\r\n"]))
    else:
        mark = b" UID" if by_uid else b""
        found = b"".join(_found(word, numbers) for word in wanted)
        session.send(b'* ESEARCH (TAG "%s")%s%s\r\n' % (command.tag, mark, found))
    return f"{command.name} completed"


def _found(word: bytes, numbers: list[int]) -> bytes:
    if word == b"COUNT":
        return b" COUNT %d" % len(numbers)
    if not numbers or word not in {b"MIN", b"MAX", b"ALL"}:
        return b""
    chosen = {b"MIN": numbers[:1], b"MAX": numbers[-1:]}.get(word, numbers)
    return b" %s %s" % (word, write_set(chosen))


def fetch(session: FakeSession, command: ClientCommand) -> str:
    """FETCH. Only a body fetched without PEEK under SELECT sets \\Seen (RFC 9051 section 6.4.5)."""
    if len(command.arguments) < 2:
        raise Bad("FETCH needs a set and items")
    by_uid = command.name == "UID FETCH"
    items = parse_items(command.arguments[1], by_uid=by_uid, gmail=account_of(session).gmail)
    mailbox = _mailbox(session)
    reads = any(item.sets_seen for item in items) and not session.read_only
    any_expunged = False
    for sequence, message in _named(session, command):
        if mailbox.get(message.uid) is not message:
            any_expunged = True
            continue
        newly_read = reads and "\\Seen" not in message.flags
        if newly_read:
            mailbox.set_flags(message.uid, message.flags | {"\\Seen"}, source=session)
        session.send(fetch_line(session, sequence, message, items, with_flags=newly_read))
    if any_expunged and not by_uid:
        raise No("[EXPUNGEISSUED] Some of the messages no longer exist")
    return f"{command.name} completed"


def store(session: FakeSession, command: ClientCommand) -> str:
    """STORE: FLAGS, +FLAGS, -FLAGS, each also .SILENT."""
    if len(command.arguments) < 3:
        raise Bad("STORE needs a set, an item and flags")
    item = command.text(1).upper()
    how, silent = item.removesuffix(b".SILENT"), item.endswith(b".SILENT")
    if how not in {b"FLAGS", b"+FLAGS", b"-FLAGS"}:
        raise Bad("Unknown STORE item")
    rest = command.arguments[2:]
    given = flags_of(rest[0] if isinstance(rest[0], list) else rest)
    mailbox = _writable(session)
    for sequence, message in _named(session, command):
        if mailbox.get(message.uid) is not message:
            continue
        flags = {b"FLAGS": given, b"+FLAGS": message.flags | given, b"-FLAGS": message.flags - given}[how]
        mailbox.set_flags(message.uid, flags, source=session)
        if not silent:
            uid = b"UID %d " % message.uid if command.name == "UID STORE" else b""
            session.send(
                b"* %d FETCH (%sFLAGS %s)\r\n" % (sequence, uid, flag_list(session.recent_from, message))
            )
    return f"{command.name} completed"


def copy(session: FakeSession, command: ClientCommand) -> str:
    """COPY and MOVE, with COPYUID (RFC 4315, RFC 6851)."""
    target = find_mailbox(session, command, 1, missing="TRYCREATE")
    moves = command.name.endswith("MOVE")
    source = _writable(session) if moves else _mailbox(session)
    old, new = [], []
    for _, message in _named(session, command):
        if source.get(message.uid) is message:
            old.append(message.uid)
            copied = target.append(message.raw, message.internal_date, message.flags, labels=message.labels)
            new.append(copied)
    sets = f"{write_set(old).decode()} {write_set(new).decode()}"
    code = f"[COPYUID {target.uidvalidity} {sets}] " if old else ""
    if not moves:
        return f"{code}{command.name} completed"
    if code:  # MOVE reports the new UIDs before the EXPUNGEs (RFC 6851 section 4.3)
        session.send(f"* OK {code}Moved\r\n".encode())
    for uid in old:
        source.expunge(uid)
    return f"{command.name} completed"


def expunge(session: FakeSession, command: ClientCommand) -> str:
    """EXPUNGE, and UID EXPUNGE (RFC 4315) of the deleted messages in a set."""
    mailbox = _writable(session)
    chosen = mailbox.messages
    if command.name == "UID EXPUNGE":
        chosen = [message for _, message in _named(session, command)]
    for message in [message for message in chosen if "\\Deleted" in message.flags]:
        if mailbox.get(message.uid) is message:
            mailbox.expunge(message.uid)
    return f"{command.name} completed"
