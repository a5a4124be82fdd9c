"""SEARCH keys (RFC 9051 section 6.4.4)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TypeAlias

from superimap.testing.imap.envelope import headers_of
from superimap.testing.imap.mailbox import FakeMessage
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import Argument, Bad, No, number_set, parse_date

Predicate: TypeAlias = Callable[[int, FakeMessage], bool]
"""Decides by sequence number and message whether the message matches."""

_FLAGS = {
    b"ANSWERED": "\\Answered", b"DELETED": "\\Deleted", b"DRAFT": "\\Draft", b"FLAGGED": "\\Flagged",
    b"SEEN": "\\Seen",
}  # fmt: skip
_DAYS: dict[bytes, Callable[[date, date], bool]] = {
    b"SINCE": lambda day, limit: day >= limit,
    b"BEFORE": lambda day, limit: day < limit,
    b"ON": lambda day, limit: day == limit,
}


def search_numbers(session: FakeSession, arguments: list[Argument], *, by_uid: bool) -> list[int]:
    """Return the sequence numbers or UIDs, ascending, of the messages that match every key."""
    keys = _Keys(session, arguments)
    keys.skip_charset()
    tests = keys.all()
    found = enumerate(session.messages, start=1)
    return [m.uid if by_uid else n for n, m in found if all(test(n, m) for test in tests)]


class _Keys:
    """Parser of the search keys; holds those that are still to be parsed."""

    def __init__(self, session: FakeSession, arguments: list[Argument]) -> None:
        self.session = session
        self.rest = list(reversed(arguments))

    def skip_charset(self) -> None:
        if self.rest and isinstance(self.rest[-1], bytes) and self.rest[-1].upper() == b"CHARSET":
            self.rest.pop()
            if self.text().upper() not in {b"UTF-8", b"US-ASCII"}:
                raise No("[BADCHARSET (US-ASCII UTF-8)] Unknown charset")

    def all(self) -> list[Predicate]:
        tests = []
        while self.rest:
            tests.append(self.key())
        if not tests:
            raise Bad("SEARCH needs a key")
        return tests

    def text(self) -> bytes:
        if not self.rest or not isinstance(value := self.rest.pop(), bytes):
            raise Bad("A search key lacks its string")
        return value

    def key(self) -> Predicate:
        if self.rest and isinstance(self.rest[-1], list):
            inner = _Keys(self.session, self.rest.pop()).all()  # type: ignore[arg-type]
            return lambda n, m: all(test(n, m) for test in inner)
        word = self.text().upper()
        if word[:1].isdigit() or word[:1] == b"*":
            ranges = number_set(word, len(self.session.messages))
            return lambda n, _m: any(n in numbers for numbers in ranges)
        return self._flag_key(word) or self._date_key(word) or self._other_key(word)

    def _flag_key(self, word: bytes) -> Predicate | None:  # noqa: PLR0911 - one return for each key
        flag, unset = _FLAGS.get(word), _FLAGS.get(word.removeprefix(b"UN"))
        if flag is not None:
            return lambda _n, m: flag in m.flags
        if unset is not None:
            return lambda _n, m: unset not in m.flags
        recent_from = self.session.recent_from
        match word:
            case b"RECENT":
                return lambda _n, m: m.uid >= recent_from
            case b"OLD":
                return lambda _n, m: m.uid < recent_from
            case b"NEW":
                return lambda _n, m: m.uid >= recent_from and "\\Seen" not in m.flags
            case b"KEYWORD" | b"UNKEYWORD":
                keyword, wanted = self.text().decode("latin-1"), word == b"KEYWORD"
                return lambda _n, m: (keyword in m.flags) is wanted
        return None

    def _date_key(self, word: bytes) -> Predicate | None:
        compare = _DAYS.get(word.removeprefix(b"SENT"))
        if compare is None:
            return None
        limit = parse_date(self.text())
        if word.startswith(b"SENT"):
            return lambda _n, m: (day := _sent(m)) is not None and compare(day, limit)
        return lambda _n, m: compare(m.internal_date.date(), limit)

    def _other_key(self, word: bytes) -> Predicate:  # noqa: PLR0911 - one return for each key
        match word:
            case b"ALL":
                return lambda _n, _m: True
            case b"NOT":
                test = self.key()
                return lambda n, m: not test(n, m)
            case b"OR":
                left, right = self.key(), self.key()
                return lambda n, m: left(n, m) or right(n, m)
            case b"UID":
                view = self.session.messages
                ranges = number_set(self.text(), view[-1].uid if view else 0)
                return lambda _n, m: any(m.uid in numbers for numbers in ranges)
            case b"LARGER" | b"SMALLER":
                return _size_test(word, self.text())
            case b"HEADER":
                return partial(_in_header, self.text().lower(), self.text().lower())
            case b"FROM" | b"TO" | b"CC" | b"BCC" | b"SUBJECT":
                return partial(_in_header, word.lower(), self.text().lower())
            case b"TEXT" | b"BODY":
                wanted, whole = self.text().lower(), word == b"TEXT"
                return lambda _n, m: wanted in (m.raw if whole else m.raw.partition(b"\r\n\r\n")[2]).lower()
        raise Bad("Unknown search key")


def _size_test(word: bytes, text: bytes) -> Predicate:
    if not text.isdigit():
        raise Bad("Invalid size")
    limit = int(text[:20])
    if word == b"LARGER":
        return lambda _n, m: len(m.raw) > limit
    return lambda _n, m: len(m.raw) < limit


def _in_header(name: bytes, wanted: bytes, _n: int, message: FakeMessage) -> bool:
    return any(wanted in value.lower() for key, value in headers_of(message.raw) if key.lower() == name)


def _sent(message: FakeMessage) -> date | None:
    value = next((value for key, value in headers_of(message.raw) if key.lower() == b"date"), None)
    if value is None:
        return None
    try:
        return parsedate_to_datetime(value.decode("latin-1")).date()
    except ValueError:
        return None
