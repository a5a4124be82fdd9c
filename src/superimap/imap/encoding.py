"""Encoding of command arguments: strings, mailbox names, sets and dates (RFC 9051 sections 4.3, 5.1).

No argument can break out of its quotes or end the command.
"""

import re
from collections.abc import Iterable
from datetime import date

from imapclient import imap_utf7

FORBIDDEN = re.compile(r"[\0\r\n]")
"""Characters that would end a command; only a literal may carry them."""
_MAX_QUOTED_CHARS = 1024  # longer strings are sent as literals
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Literal:
    """An argument that is sent as a literal; neither str() nor repr() shows its bytes."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __repr__(self) -> str:
        return f"{{{len(self.data)}}}"


Argument = str | Literal


def quote_string(text: str) -> Argument:
    """Quote `text`, or make it a literal where quotes cannot carry it. Raises ValueError on CR, LF or NUL."""
    if FORBIDDEN.search(text):
        raise ValueError("CR, LF and NUL are not allowed in an IMAP string")  # does not show the string
    if not text.isascii() or len(text) > _MAX_QUOTED_CHARS:
        return Literal(text.encode("utf-8"))
    return quote_text(text)


def quote_text(text: str) -> str:
    """Quote ASCII text without CR, LF and NUL."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def encode_mailbox(name: str) -> bytes:
    """Encode a mailbox name in modified UTF-7 (RFC 3501 section 5.1.3)."""
    return bytes(imap_utf7.encode(name))


def quote_raw(name: bytes) -> Argument:
    """Quote a mailbox name by its bytes as the server listed them. Raises ValueError on NUL."""
    if name.isascii() and not FORBIDDEN.search(text := name.decode("ascii")):
        return quote_string(text)
    if b"\0" in name:
        raise ValueError("NUL is not allowed in a mailbox name")
    return Literal(name)


def decode_mailbox(wire: bytes) -> str:
    """Return the Unicode name of a listed mailbox.

    Raw UTF-8 (RFC 6855) is accepted, other 8-bit names count as Latin-1; malformed modified UTF-7 is returned
    unchanged.
    """
    if wire.upper() == b"INBOX":
        return "INBOX"
    if not wire.isascii():
        try:
            return wire.decode("utf-8")
        except ValueError:
            return wire.decode("latin-1")
    try:
        return str(imap_utf7.decode(wire))
    except ValueError:
        return wire.decode("ascii")


def split_command(head: str, arguments: Iterable[Argument], *, non_sync: bool) -> list[bytes]:
    """Encode a command, split where the server must send "+" before a literal (RFC 9051 section 4.3).

    With `non_sync` literals (LITERAL+) the command is one piece.
    """
    done, now = [], bytearray(head.encode("ascii"))
    for argument in arguments:
        now += b" "
        if not isinstance(argument, Literal):
            now += argument.encode("ascii")
            continue
        now += b"{%d%s}\r\n" % (len(argument.data), b"+" if non_sync else b"")
        if not non_sync:
            done.append(bytes(now))
            now.clear()
        now += argument.data
    return [*done, bytes(now) + b"\r\n"]


def format_uid_set(uids: Iterable[int]) -> str:
    """Format `uids` as a sequence set with runs as ranges, such as 1:3,7."""
    runs: list[list[int]] = []
    for uid in sorted(set(uids)):
        if runs and runs[-1][1] == uid - 1:
            runs[-1][1] = uid
        else:
            runs.append([uid, uid])
    return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in runs)


def format_date(day: date) -> str:
    """Format `day` for SEARCH, independent of the locale: 1-Feb-2026."""
    return f"{day.day}-{_MONTHS[day.month - 1]}-{day.year:04}"
