"""Items of FETCH, and the FETCH response (RFC 9051 sections 6.4.5 and 7.5.2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

from superimap.testing.imap.envelope import headers_of, split_message, write_envelope
from superimap.testing.imap.mailbox import FakeMessage
from superimap.testing.imap.mailbox_view import flag_list
from superimap.testing.imap.mime import find_part, write_structure
from superimap.testing.imap.names import encode_name
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import Argument, Bad, string, write_date_time

_MACROS: dict[bytes, list[Argument]] = {
    b"FAST": [b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE"],
    b"ALL": [b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE"],
    b"FULL": [b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE", b"BODY"],
}
_SECTION = re.compile(rb"BODY(\.PEEK)?\[(.*)\](?:<(\d{1,10})\.(\d{1,10})>)?\Z", re.IGNORECASE | re.DOTALL)
_FIELDS = re.compile(rb"HEADER\.FIELDS(\.NOT)? ?\((.*)\)\Z", re.IGNORECASE | re.DOTALL)
_PART = re.compile(rb"(\d{1,5}(?:\.\d{1,5})*)(?:\.([HTM].*))?\Z", re.IGNORECASE | re.DOTALL)


Section: TypeAlias = Callable[[bytes], "bytes | None"]
"""Returns a section of a raw message, or None if the message has no such part."""


class FetchItem(NamedTuple):
    """A requested item: its name in the response, how it is formatted, and whether it sets \\Seen."""

    name: bytes
    write: Callable[[FakeSession, FakeMessage], bytes]
    sets_seen: bool = False


def _labels(_session: FakeSession, message: FakeMessage) -> bytes:
    return b"(%s)" % b" ".join(string(encode_name(label)) for label in message.labels)


_SIMPLE: dict[bytes, FetchItem] = {
    item.name: item
    for item in (
        FetchItem(b"UID", lambda _s, m: b"%d" % m.uid),
        FetchItem(b"FLAGS", lambda s, m: flag_list(s.recent_from, m)),
        FetchItem(b"INTERNALDATE", lambda _s, m: write_date_time(m.internal_date)),
        FetchItem(b"RFC822.SIZE", lambda _s, m: b"%d" % len(m.raw)),
        FetchItem(b"ENVELOPE", lambda _s, m: write_envelope(m.raw)),
        FetchItem(b"BODY", lambda _s, m: write_structure(m.raw, extended=False)),
        FetchItem(b"BODYSTRUCTURE", lambda _s, m: write_structure(m.raw, extended=True)),
        FetchItem(b"RFC822", lambda _s, m: _literal(m.raw), sets_seen=True),
        FetchItem(b"RFC822.HEADER", lambda _s, m: _literal(split_message(m.raw)[0])),
        FetchItem(b"RFC822.TEXT", lambda _s, m: _literal(split_message(m.raw)[1]), sets_seen=True),
    )
}
_GMAIL = FetchItem(b"X-GM-LABELS", _labels)


def parse_items(asked: Argument, *, by_uid: bool, gmail: bool) -> list[FetchItem]:
    """Parse the items of a FETCH, in their order, UID first where it is implied. Raises Bad on an unknown item."""
    words = asked if isinstance(asked, list) else _MACROS.get(asked.upper(), [asked])
    items = [_parse_item(word, gmail) for word in words]
    if not items:
        raise Bad("FETCH needs items")
    if by_uid and all(item.name != b"UID" for item in items):
        items.insert(0, _SIMPLE[b"UID"])
    return items


def _parse_item(word: Argument, gmail: bool) -> FetchItem:
    if not isinstance(word, bytes):
        raise Bad("Unknown FETCH item")
    name = word.upper()
    if name in _SIMPLE:
        return _SIMPLE[name]
    if gmail and name == _GMAIL.name:
        return _GMAIL
    match = _SECTION.match(word)
    if match is None:
        raise Bad("Unknown FETCH item")
    peek, section, first, size = match.groups()
    cut = slice(0, None) if first is None else slice(int(first), int(first) + int(size))
    origin = b"" if first is None else b"<%d>" % int(first)
    take = _section(section)
    return FetchItem(
        b"BODY[%s]%s" % (section, origin), partial(_write_section, take, cut), sets_seen=peek is None
    )


def _write_section(take: Section, cut: slice, _session: FakeSession, message: FakeMessage) -> bytes:
    data = take(message.raw)
    return b"NIL" if data is None else _literal(data[cut])


def _literal(data: bytes) -> bytes:
    return b"{%d}\r\n%s" % (len(data), data)


def _section(section: bytes) -> Section:
    match section.upper():
        case b"":
            return lambda raw: raw
        case b"HEADER":
            return lambda raw: split_message(raw)[0]
        case b"TEXT":
            return lambda raw: split_message(raw)[1]
    fields = _FIELDS.match(section)
    if fields is not None:
        names = {name.strip(b'"').lower() for name in fields[2].split()}
        return partial(_some_headers, names, fields[1] is None)
    part = _PART.match(section)
    if part is None:
        raise Bad("Unknown section")
    return partial(_part_section, [int(number) for number in part[1].split(b".")], part[2])


def _some_headers(names: set[bytes], wanted: bool, raw: bytes) -> bytes:
    chosen = [b"%s: %s\r\n" % field for field in headers_of(raw) if (field[0].lower() in names) is wanted]
    return b"".join(chosen) + b"\r\n"


def _part_section(numbers: list[int], inner: bytes | None, raw: bytes) -> bytes | None:
    part = find_part(raw, numbers)
    if part is None:
        return None
    if inner is None:
        return part.body
    if inner.upper() == b"MIME":
        return part.header
    return _section(inner)(part.body) if part.kind == (b"MESSAGE", b"RFC822") else None


def fetch_line(
    session: FakeSession, sequence: int, message: FakeMessage, items: list[FetchItem], *, with_flags: bool
) -> bytes:
    """Format one FETCH response. `with_flags` adds FLAGS, because this command has changed them."""
    words = [b"%s %s" % (item.name, item.write(session, message)) for item in items]
    if with_flags and all(item.name != b"FLAGS" for item in items):
        words.append(b"FLAGS " + flag_list(session.recent_from, message))
    return b"* %d FETCH (%s)\r\n" % (sequence, b" ".join(words))
