"""Framing: cutting a byte stream into whole IMAP responses (RFC 9051 sections 4.3 and 9).

Pure, iterative, linear in the input. Literals are counted off, quoted strings are skipped, braces in the text of
a status response announce no literal, and no byte is altered.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from superimap.imap.errors import LimitExceeded
from superimap.imap.types import Limits

MAX_UNSOLICITED_BYTES = 64 * 1024
"""Largest line or literal while no command is pending, as in IDLE: the caller has reserved no memory for more."""
MAX_PARSED_BYTES = 64 * 1024
"""Most text of one response, or bytes of one value in it, that are parsed: a MiB takes a tenth of a second. Honest
servers need far less for what is asked for."""
_LITERAL = re.compile(rb"~?\{(\d+)\+?\}\Z")  # literal, literal8 (RFC 3516), and a non-synchronising one
_OUTSIDE_QUOTES = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)  # possessive, hence linear
_STATUS = re.compile(rb"\*[ \t]*+(?:OK|NO|BAD|BYE|PREAUTH)(?![A-Za-z0-9])", re.IGNORECASE)
_MAX_NUMBER64 = (1 << 63) - 1  # RFC 9051 section 9
_RESPONSE_OVERHEAD_BYTES = 256  # of Python's objects, in addition to the bytes of the response
_PIECE_OVERHEAD_BYTES = 64  # of one more text or literal
_LONG_TEXT_BYTES = 4096  # a longer one is copied once, which takes a little longer to begin


@dataclass(slots=True)
class Response:
    """One whole response: the texts before, between and after its literals."""

    texts: tuple[bytes, ...]
    literals: tuple[bytes, ...] = ()

    @property
    def line(self) -> bytes:
        """The first line, which names the kind of response."""
        return self.texts[0]

    @property
    def weight(self) -> int:
        """The approximate memory it takes, in bytes."""
        if not self.literals:
            return _RESPONSE_OVERHEAD_BYTES + len(self.texts[0])
        pieces = 2 * len(self.literals) * _PIECE_OVERHEAD_BYTES
        return _RESPONSE_OVERHEAD_BYTES + pieces + self.text_bytes + sum(map(len, self.literals))

    @property
    def text_bytes(self) -> int:
        """The bytes of its texts, which are to be parsed."""
        return sum(map(len, self.texts))


Packed = bytes | tuple[bytes, ...]
"""A response as it is kept: its only text, or its texts followed by its literals, of which there is one less."""


def pack(response: Response) -> Packed:
    """Return the response without an object that the garbage collector tracks for long.

    A server may send 100,000 of them. If the collector visited them, it would stop the process for 50 ms.
    """
    return response.texts + response.literals if response.literals else response.texts[0]


class Responses(Sequence[Response]):
    """A view of packed responses."""

    __slots__ = ("_packed",)

    def __init__(self, packed: Sequence[Packed] = ()) -> None:
        self._packed = packed

    def __len__(self) -> int:
        return len(self._packed)

    def __iter__(self) -> Iterator[Response]:
        return map(_unpack, self._packed)

    @overload
    def __getitem__(self, at: int) -> Response: ...
    @overload
    def __getitem__(self, at: slice) -> "Responses": ...
    def __getitem__(self, at: int | slice) -> "Response | Responses":
        return Responses(self._packed[at]) if isinstance(at, slice) else _unpack(self._packed[at])


def _unpack(packed: Packed) -> Response:
    if isinstance(packed, bytes):
        return Response((packed,))
    texts = len(packed) // 2 + 1
    return Response(packed[:texts], packed[texts:])


class Framer:
    """Cuts a stream of bytes, in chunks of any size, into responses."""

    __slots__ = (
        "_buffer", "_limits", "_literal_size", "_literals", "_scan", "_short_line_bytes", "_start", "_text_bytes",
        "_texts", "_weight", "expects_answer",
    )  # fmt: skip

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._short_line_bytes = min(limits.line, MAX_UNSOLICITED_BYTES)  # allowed at any time
        self.expects_answer = False
        """Whether a command other than IDLE is pending: only then may the server send much."""
        self.reset()

    def reset(self) -> None:
        """Drop incomplete input."""
        self._buffer = bytearray()
        self._start = 0  # where the unread part of the buffer begins
        self._scan = 0  # there is no CRLF before this position
        self._literal_size: int | None = None  # of the literal that comes next
        self._forget_parts()

    def _forget_parts(self) -> None:
        self._texts: list[bytes] | None = None  # of the response that is incomplete; none between responses
        self._literals: list[bytes] | None = None
        self._weight = self._text_bytes = 0  # of these texts and literals, and of the texts alone

    @property
    def held(self) -> int:
        """The bytes of memory that incomplete input takes; an announced literal counts in full."""
        return max(len(self._buffer), self._literal_size or 0) + self._weight

    @property
    def announced(self) -> int | None:
        """The size of the literal that is expected, if one is."""
        return self._literal_size

    def feed(self, data: bytes | memoryview) -> Iterator[Response]:
        """Yield the responses that `data` completes. Raises LimitExceeded."""
        self._buffer += data
        while (response := self._next()) is not None:
            yield response
        del self._buffer[: self._start]
        self._scan -= self._start
        self._start = 0

    def _next(self) -> Response | None:
        if self._literal_size is None and not self._texts and (text := self._whole_line()) is not None:
            return Response((text,))
        while self._literal_size is None or self._take_literal(self._literal_size):
            text = self._take_line()
            if text is None:
                return None
            self._literal_size = self._announced_size(text)
            if self._literal_size is None:
                response = Response((*(self._texts or ()), text), tuple(self._literals or ()))
                self._forget_parts()
                return response
            self._add_text(text)
        return None

    def _add_text(self, text: bytes) -> None:
        """Keep a text behind which a literal comes."""
        if self._texts is None:
            self._texts = []
        self._texts.append(text)
        self._text_bytes += len(text)
        self._weight += len(text) + 2 * _PIECE_OVERHEAD_BYTES

    def _whole_line(self) -> bytes | None:
        """Take a line that is a whole response, as nearly all are; None if that needs a closer look."""
        end = self._buffer.find(b"\r\n", self._scan)
        if end <= self._start or end - self._start > self._short_line_bytes or self._buffer[end - 1] == 0x7D:
            return None  # incomplete, empty, long, or it ends with "}"
        text = bytes(self._buffer[self._start : end])
        self._start = self._scan = end + 2
        return text

    def _take_literal(self, size: int) -> bool:
        """Take the announced literal; False if it is incomplete."""
        end = self._start + size
        if len(self._buffer) < end:
            return False
        if self._literals is None:
            self._literals = []
        self._literals.append(self._cut(end))
        self._weight += size
        self._start = self._scan = end
        self._literal_size = None
        return True

    def _take_line(self) -> bytes | None:
        """Take the line up to CRLF; None if it is incomplete. All texts of a response count as one line."""
        end = self._buffer.find(b"\r\n", self._scan)
        length = (end if end >= 0 else self._end_of_text) - self._start + self._text_bytes
        if length > self._max_line_bytes and not self._may_be_long(length):
            raise LimitExceeded(f"a line of more than {self._max_line_bytes} bytes")
        if end < 0:
            self._scan = max(self._start, len(self._buffer) - 1)  # the last byte may be the CR
            return None
        text = self._cut(end)
        self._start = self._scan = end + 2
        return text

    def _cut(self, end: int) -> bytes:
        """Return the unread bytes before `end`."""
        if end - self._start <= _LONG_TEXT_BYTES:
            return bytes(self._buffer[self._start : end])
        with memoryview(self._buffer) as view:
            return bytes(view[self._start : end])

    @property
    def _end_of_text(self) -> int:
        """The end of the incomplete line in the buffer, without a CR whose LF may follow."""
        return len(self._buffer) - self._buffer.endswith(b"\r")

    @property
    def _max_line_bytes(self) -> int:
        return self._limits.line if self.expects_answer else self._short_line_bytes

    def _may_be_long(self, length: int) -> bool:
        """Whether this is a search result: in a big mailbox, one line of 7 to 11 bytes for each message."""
        return (
            self.expects_answer
            and length <= self._limits.response
            and not self._texts
            and self._buffer[self._start : self._start + 9].upper().startswith((b"* SEARCH", b"* ESEARCH"))
        )

    def _announced_size(self, text: bytes) -> int | None:
        """Return the size of the literal that `text` announces at its end, or None. Raises LimitExceeded."""
        if not text.endswith(b"}") or (match := _LITERAL.search(text)) is None:
            return None
        first = self._texts[0] if self._texts else text
        if not first.startswith(b"*") or _STATUS.match(first) or not _OUTSIDE_QUOTES.fullmatch(text):
            return None
        digits = match[1].lstrip(b"0") or b"0"
        most = (
            self._limits.literal if self.expects_answer else min(self._limits.literal, MAX_UNSOLICITED_BYTES)
        )
        if len(digits) > 10 or int(digits) > most:
            announced = min(int(digits[:20]), _MAX_NUMBER64)
            raise LimitExceeded(f"a literal of more than {most} bytes", announced)
        if self._weight + len(text) + int(digits) > self._limits.total:
            raise LimitExceeded(f"a response of more than {self._limits.total} bytes")
        return int(digits)
