"""Framing: cutting a byte stream into whole IMAP responses (RFC 9051 sections 4.3 and 9).

Pure, iterative, linear in the input. Literals are counted off, quoted strings are skipped, braces in the text of
a status response announce no literal, and no byte of a literal is altered. Some servers end lines with LF
alone, or with several CRs before it.
"""

import re
from collections.abc import Iterator
from enum import Enum

from superimap.imap.errors import LimitExceeded
from superimap.imap.response import PIECE_OVERHEAD_BYTES, Response
from superimap.imap.types import Limits

MAX_UNSOLICITED_BYTES = 64 * 1024
"""Largest line or literal while no command is pending, as in IDLE: the caller has reserved no memory for more."""
_LITERAL = re.compile(rb"~?\{(\d+)\+?\}\Z")  # literal, literal8 (RFC 3516), and a non-synchronising one
# Possessive, hence linear. `(?!)`: before Python 3.11.5 a repetition keeps what a failed alternative has consumed.
_OUTSIDE_QUOTES = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+"|(?!))*+', re.DOTALL)
_STATUS = re.compile(rb"\*[ \t]*+(?:OK|NO|BAD|BYE|PREAUTH)(?![A-Za-z0-9])", re.IGNORECASE)
_MAX_NUMBER64 = (1 << 63) - 1  # RFC 9051 section 9
_LONG_TEXT_BYTES = 4096  # a longer one is copied once, which takes a little longer to begin


class _Ends(Enum):
    """What ends the next line."""

    ANY = "LF, with or without a CR"
    MOSTLY_CRLF = "the same, except for LF within quotes"
    CRLF = "CRLF: it has a LF within quotes"


class Framer:
    """Cuts a stream of bytes, in chunks of any size, into responses."""

    __slots__ = (
        "_buffer", "_ends", "_limits", "_literal_size", "_literals", "_scan", "_short_line_bytes", "_start",
        "_text_bytes", "_texts", "_weight", "expects_answer",
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
        self._scan = 0  # there is no end of a line before this position
        self._ends = _Ends.ANY
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

    def rest(self) -> bytes:
        """Return the text of an incomplete line that may be a whole response without its end."""
        is_text = self._literal_size is None and not self._texts
        return bytes(self._buffer[self._start :][: self._short_line_bytes]).strip() if is_text else b""

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
            self._add_text(text.rstrip(b" \t"))
        return None

    def _add_text(self, text: bytes) -> None:
        """Keep a text behind which a literal comes."""
        if self._texts is None:
            self._texts = []
        self._texts.append(text)
        self._text_bytes += len(text)
        self._weight += len(text) + 2 * PIECE_OVERHEAD_BYTES

    def _whole_line(self) -> bytes | None:
        """Take a line that is a whole response, as nearly all are; None if that needs a closer look."""
        end = self._buffer.find(b"\n", self._scan) - 1
        if end <= self._start or end - self._start > self._short_line_bytes:
            return None  # incomplete, empty or long
        if self._buffer[end] != 0x0D or self._buffer[end - 1] in b"} \t\r":
            return None  # no CR before the LF, or it may announce a literal
        text = bytes(self._buffer[self._start : end])
        self._start = self._scan = end + 2
        self._ends = _Ends.MOSTLY_CRLF
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
        """Take the line up to its end; None if it is incomplete. All texts of a response count as one line."""
        end = self._line_end()
        length = (end if end >= 0 else self._end_of_text) - self._start + self._text_bytes
        if length > self._max_line_bytes and not self._may_be_long(length):
            raise LimitExceeded(f"a line of more than {self._max_line_bytes} bytes")
        if end < 0:
            self._scan = max(self._start, len(self._buffer) - 1)  # the last byte may be the CR
            return None
        stop = end  # the CRs are left out before the copy: a search result of megabytes is copied once
        while stop > self._start and self._buffer[stop - 1] == 0x0D:
            stop -= 1
        text = self._cut(stop)
        self._start = self._scan = end + 1
        if self._buffer[end - 1 : end] == b"\r":
            self._ends = _Ends.MOSTLY_CRLF
        return text

    def _line_end(self) -> int:
        """Return where the LF is that ends the line; -1 if it is incomplete.

        A LF without a CR ends no line within quotes, unless no line has ended with CRLF so far.
        """
        if self._ends is not _Ends.CRLF:
            end = self._buffer.find(b"\n", self._scan)
            if end < 0 or self._ends is _Ends.ANY or self._buffer[end - 1 : end] == b"\r":
                return end
            text = self._cut(end)
            if not text.startswith(b"*") or _STATUS.match(text) or _OUTSIDE_QUOTES.fullmatch(text):
                return end
            self._ends, self._scan = _Ends.CRLF, end
        end = self._buffer.find(b"\r\n", self._scan)
        return end + 1 if end >= 0 else end

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
        text = text.rstrip(b" \t")
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
