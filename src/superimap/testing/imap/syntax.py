"""Parsing of commands; formatting of strings, sets and dates (RFC 3501 section 9)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TypeAlias

Argument: TypeAlias = "bytes | list[Argument]"
"""An atom, a quoted string or a literal as bytes; a parenthesised list as a list."""

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
LITERAL = re.compile(rb"~?\{(\d{1,20})(\+?)\}$")

_TOKEN = re.compile(rb'[ \t]*(?:([()])|"((?:[^"\\]|\\.)*)"|((?:[^\s()"\[]+|\[[^\]]*\]|\[)+))', re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_PLAIN = re.compile(rb"[\x20-\x7e]*\Z")
_DATE = re.compile(r"([ \d]?\d)-([A-Za-z]{3})-(\d{4})")
_DATE_TIME = re.compile(r"([ \d]\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)\Z")


class CommandRefused(Exception):
    """The tagged response of a command is not OK.

    CommandRefused
      Bad   malformed, or not valid in this state
      No    understood, and refused
    """

    status = b"NO"


class Bad(CommandRefused):
    """The tagged response is BAD."""

    status = b"BAD"


class No(CommandRefused):
    """The tagged response is NO. The text may begin with a response code such as `[NONEXISTENT]`."""


@dataclass(slots=True)
class ClientCommand:
    """A command of a client: tag, name in capitals (`UID FETCH` is one name), arguments."""

    tag: bytes
    name: str
    arguments: "list[Argument]"

    def text(self, index: int) -> bytes:
        """Return the string at `index`. Raises Bad if it is missing, or a list."""
        value = self.arguments[index] if index < len(self.arguments) else None
        if not isinstance(value, bytes):
            raise Bad(f"{self.name} needs a string as argument {index + 1}")
        return value


def parse_command(parts: Sequence[bytes]) -> ClientCommand:
    """Parse a command from text and literals in turn (text, literal, text, …). Raises Bad if malformed."""
    tokens = parse_arguments(parts)
    words = tokens[:3]
    if len(words) < 2 or not isinstance(words[0], bytes) or not isinstance(words[1], bytes):
        raise Bad("A command is a tag and a name")
    name, used = words[1].upper(), 2
    if name == b"UID" and len(words) == 3 and isinstance(words[2], bytes):
        name, used = b"UID " + words[2].upper(), 3
    return ClientCommand(words[0], name.decode("latin-1"), tokens[used:])


def parse_arguments(parts: Sequence[bytes]) -> "list[Argument]":
    """Parse the tokens of a command, with nested lists.

    Odd parts are literals. Raises Bad on an unclosed list or string.
    """
    stack: list[list[Argument]] = [[]]
    for number, part in enumerate(parts):
        if number % 2:
            stack[-1].append(part)
            continue
        text = LITERAL.sub(b"", part) if number + 1 < len(parts) else part
        _tokens(text, stack)
    if len(stack) != 1:
        raise Bad("Unclosed parenthesis")
    return stack[0]


def _tokens(text: bytes, stack: "list[list[Argument]]") -> None:
    position, end = 0, len(text.rstrip(b" \t"))
    while position < end:
        match = _TOKEN.match(text, position, end)
        if match is None:
            raise Bad("Cannot parse arguments")
        position = match.end()
        bracket, quoted, atom = match.groups()
        if bracket == b"(":
            inner: list[Argument] = []
            stack[-1].append(inner)
            stack.append(inner)
        elif bracket is not None:
            if len(stack) == 1:
                raise Bad("Unopened parenthesis")
            stack.pop()
        else:
            stack[-1].append(atom if quoted is None else _ESCAPE.sub(rb"\1", quoted))


def string(value: bytes | None) -> bytes:
    """Format `value` as an nstring: NIL, a quoted string, or a literal where quotes cannot carry it."""
    if value is None:
        return b"NIL"
    if len(value) > 1000 or not _PLAIN.match(value):
        return b"{%d}\r\n%s" % (len(value), value)
    return b'"%s"' % value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def number_set(text: bytes, last: int) -> list[range]:
    """Parse a sequence or UID set. `*` is `last`, so `n:*` always contains it (RFC 3501 section 6.4.8).

    An empty mailbox has `last` 0, which nothing matches. Raises Bad unless all numbers are above 0, of 63 bits.
    """
    ranges = []
    for piece in text.split(b","):
        ends = [last if end == b"*" else _number(end) for end in piece.split(b":")]
        if len(ends) > 2:
            raise Bad("Invalid set")
        ranges.append(range(min(ends), max(ends) + 1))
    return ranges


def _number(text: bytes) -> int:
    if not text.isdigit() or not 0 < (value := int(text[:20])) < 2**63:
        raise Bad("Invalid set")
    return value


def write_set(numbers: Sequence[int]) -> bytes:
    """Format ascending numbers as a set with runs as ranges: 1,2,3,7 is `1:3,7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return b",".join(b"%d" % a if a == b else b"%d:%d" % (a, b) for a, b in runs)


def parse_date(text: bytes) -> date:
    """Parse a date such as 1-Feb-2025. Raises Bad if malformed."""
    match = _DATE.fullmatch(text.decode("latin-1"))
    if match is None or match[2].title() not in MONTHS:
        raise Bad("Invalid date")
    try:
        return date(int(match[3]), MONTHS.index(match[2].title()) + 1, int(match[1]))
    except ValueError as error:
        raise Bad("Invalid date") from error


def parse_date_time(text: bytes) -> datetime:
    """Parse the date-time of APPEND, with its time zone. Raises Bad if malformed."""
    match = _DATE_TIME.match(text.decode("latin-1"))
    if match is None:
        raise Bad("Invalid date-time")
    day = parse_date(text[:11].strip())
    zone = timedelta(hours=int(match[8]), minutes=int(match[9])) * (-1 if match[7] == "-" else 1)
    try:
        clock = datetime(
            day.year, day.month, day.day, int(match[4]), int(match[5]), int(match[6]), tzinfo=UTC
        )
        return clock.replace(tzinfo=timezone(zone))
    except ValueError as error:
        raise Bad("Invalid date-time") from error


def write_date_time(moment: datetime) -> bytes:
    """Format an INTERNALDATE in quotes, with English months in every locale."""
    form = f'"%d-{MONTHS[moment.month - 1]}-{moment.year:04d} %H:%M:%S %z"'
    return moment.strftime(form).encode("ascii")
