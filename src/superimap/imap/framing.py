"""Where does one IMAP response end and the next begin? (RFC 9051 sections 4.3 and 9)

Pure, iterative, linear. Literals are counted off, quoted strings are skipped, the text of a status response
is text, and no byte is ever altered.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from superimap.imap.errors import LimitExceeded
from superimap.imap.types import Limits

_LITERAL = re.compile(rb"~?\{(\d+)\+?\}\Z")  # literal, literal8 (RFC 3516), and a non-synchronising one
_OUTSIDE_QUOTES = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)  # possessive, hence linear
_STATUS = re.compile(rb"\* (?:OK|NO|BAD|BYE|PREAUTH)(?: |\Z)", re.IGNORECASE)
MAX_UNSOLICITED_BYTES = 64 * 1024
"""Bytes of a line or a literal that a server may send unasked, as to a session that idles: nobody made room."""
_LARGEST = (1 << 63) - 1  # a number64 (RFC 9051 section 9)
_OVERHEAD = 256  # bytes that Python needs for a response beside its own


@dataclass(slots=True)
class Response:
    """One whole response: the texts before, between and after its literals.

    In tuples, which the garbage collector soon forgets: 100,000 of them stopped all for 80 ms as lists.
    """

    texts: tuple[bytes, ...]
    literals: tuple[bytes, ...] = ()

    @property
    def line(self) -> bytes:
        """Its first line, which says what it is."""
        return self.texts[0]

    @property
    def weight(self) -> int:
        """The bytes it holds, or so."""
        return _weight(self.texts, self.literals)


def _weight(texts: Sequence[bytes], literals: Sequence[bytes]) -> int:
    return _OVERHEAD + sum(map(len, texts)) + sum(map(len, literals))


class Framer:
    """Cuts a stream of bytes, however chunked, into responses."""

    __slots__ = ("_buffer", "_limits", "_literals", "_owed", "_scan", "_start", "_texts", "is_asked")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.is_asked = False  # a command waits for its answer: only then may there be much to say
        self.reset()

    def reset(self) -> None:
        """Forget what is incomplete."""
        self._buffer = bytearray()
        self._start = 0  # where the unread part of the buffer begins
        self._scan = 0  # up to here there is no CRLF
        self._owed: int | None = None  # the size of the literal that comes next
        self._texts: list[bytes] = []  # of the response that is not whole yet
        self._literals: list[bytes] = []

    def feed(self, data: bytes | memoryview) -> Iterator[Response]:
        """The responses that `data` completes. Raises LimitExceeded."""
        self._buffer += data
        while (response := self._next()) is not None:
            yield response
        del self._buffer[: self._start]
        self._scan -= self._start
        self._start = 0

    def _next(self) -> Response | None:
        if self._owed is None and not self._texts and (text := self._whole_line()) is not None:
            return Response((text,))
        while self._owed is None or self._literal(self._owed):
            text = self._line()
            if text is None:
                return None
            self._owed = self._announced(text)
            self._texts.append(text)
            if self._owed is None:
                response = Response(tuple(self._texts), tuple(self._literals))
                self._texts, self._literals = [], []
                return response
        return None

    def _whole_line(self) -> bytes | None:
        """Take the line that is a response of its own, as nearly all are; None asks for a closer look."""
        end = self._buffer.find(b"\r\n", self._scan)
        if end <= self._start or end - self._start > self._longest_line or self._buffer[end - 1] == 0x7D:
            return None  # not whole, empty, too long, or it ends with "}"
        text = bytes(self._buffer[self._start : end])
        self._start = self._scan = end + 2
        return text

    def _literal(self, size: int) -> bool:
        """Take the literal that is owed, if it is all there."""
        end = self._start + size
        if len(self._buffer) < end:
            return False
        with memoryview(self._buffer) as view:
            self._literals.append(bytes(view[self._start : end]))
        self._start = self._scan = end
        self._owed = None
        return True

    def _line(self) -> bytes | None:
        """Take the line up to CRLF, if it is all there."""
        end = self._buffer.find(b"\r\n", self._scan)
        length = (end if end >= 0 else len(self._buffer)) - self._start
        if length > self._longest_line and not self._may_be_long(length):
            raise LimitExceeded(f"a line of more than {self._longest_line} bytes")
        if end < 0:
            self._scan = max(self._start, len(self._buffer) - 1)  # the last byte may be the CR
            return None
        text = bytes(self._buffer[self._start : end])
        self._start = self._scan = end + 2
        return text

    @property
    def _longest_line(self) -> int:
        return self._limits.line if self.is_asked else min(self._limits.line, MAX_UNSOLICITED_BYTES)

    def _may_be_long(self, length: int) -> bool:
        """A big mailbox' search result is one line of 7 to 11 bytes a message."""
        return (
            self.is_asked
            and length <= self._limits.response
            and self._buffer[self._start : self._start + 8].upper() == b"* SEARCH"
        )

    def _announced(self, text: bytes) -> int | None:
        """The size of the literal that `text` ends with, or None."""
        if not text.endswith(b"}") or (match := _LITERAL.search(text)) is None:
            return None
        first = self._texts[0] if self._texts else text
        if not first.startswith(b"* ") or _STATUS.match(first) or not _OUTSIDE_QUOTES.fullmatch(text):
            return None
        digits = match[1].lstrip(b"0") or b"0"
        most = self._limits.literal if self.is_asked else min(self._limits.literal, MAX_UNSOLICITED_BYTES)
        if len(digits) > 10 or int(digits) > most:
            announced = min(int(digits[:20]), _LARGEST)
            raise LimitExceeded(f"a literal of more than {most} bytes", announced)
        if _weight(self._texts, self._literals) + int(digits) > self._limits.total:
            raise LimitExceeded(f"a response of more than {self._limits.total} bytes")
        return int(digits)
