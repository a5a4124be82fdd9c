"""Lenient reader of an HTTP/1 answer, without I/O.

Where a receiver deviates from RFC 9112, the reader does what curl does: a final status line is an answer, whatever
follows.
"""

from __future__ import annotations

import re
from dataclasses import replace
from enum import Enum, auto

from superimap.dispatcher.answer_head import AnswerHead, parse_head

MAX_ANSWER_BYTES = 16 * 1024
"""Length of a body at which reading stops."""

MAX_HEAD_BYTES = 64 * 1024
"""Length of all headers together, those of interim answers included, at which reading stops."""

MAX_OVERHEAD_BYTES = 256 * 1024
"""Length of headers, chunk sizes and trailers together at which reading stops."""

CLOSED = "closed"
PROTOCOL = "protocol"

_HEAD_END = re.compile(rb"\n\r?\n")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9a-fA-F]{1,16})[ \t\r;\n]")
_PREFIX = b"HTTP/"


class _State(Enum):
    HEAD = auto()
    BODY = auto()  # of a known length, or a chunk
    UNTIL_CLOSE = auto()  # a body that ends with the connection
    CHUNK_SIZE = auto()
    CHUNK_END = auto()
    TRAILER = auto()
    COMPLETE = auto()


class AnswerReader:
    """Reads the answer to one request from the bytes of its connection.

    `head` is None until a final status line came. `body` is the start of the body. `error` is None, or what was
    wrong with the answer: `protocol`, or the word given to `end`.
    """

    def __init__(self) -> None:
        self.head: AnswerHead | None = None
        self.body = bytearray()
        self.error: str | None = None
        self.has_bytes = False
        self._state = _State.HEAD
        self._buffer = bytearray()
        self._searched = 0  # the part of the buffer that contains no end of the headers
        self._overhead = 0  # bytes read that belong to no body
        self._left = 0  # bytes that are missing from the body or chunk

    @property
    def status(self) -> int | None:
        """The final status, or None."""
        return None if self.head is None else self.head.status

    @property
    def is_complete(self) -> bool:
        """Whether nothing more is expected."""
        return self._state is _State.COMPLETE

    @property
    def can_reuse(self) -> bool:
        """Whether the connection is fit for another request."""
        return self.is_complete and self.error is None and self.head is not None and self.head.keeps_open

    def feed(self, data: bytes) -> None:
        """Read bytes as they come, in any pieces."""
        self.has_bytes = True
        self._buffer += data
        while self._step():
            pass

    def end(self, error: str | None = None) -> None:
        """Finish: the connection was closed in order, or `error` happened. A complete answer stays as it is."""
        if self._state is _State.HEAD:
            received = bytes(self._buffer[: self._buffer.rfind(b"\n") + 1])
            self._take_head(parse_head(received))
            self._finish((error or CLOSED) if self._is_prefix() else PROTOCOL)
        elif self._state in (_State.UNTIL_CLOSE, _State.TRAILER):
            self._finish(error)
        elif self._state is not _State.COMPLETE:
            self._finish(error or CLOSED)

    def _step(self) -> bool:
        """Read the next element from the buffer; False if more bytes are needed first, or none."""
        if self._state is not _State.HEAD and self._overhead > MAX_OVERHEAD_BYTES:
            return self._finish(PROTOCOL)
        match self._state:
            case _State.HEAD:
                is_read = self._read_head()
            case _State.BODY | _State.UNTIL_CLOSE:
                is_read = self._read_body()
            case _State.CHUNK_SIZE:
                is_read = self._read_chunk_size()
            case _State.CHUNK_END:
                is_read = self._read_chunk_end()
            case _State.TRAILER:
                is_read = self._read_trailer()
            case _State.COMPLETE:
                is_read = False
        return is_read

    def _finish(self, error: str | None = None) -> bool:
        """Complete the answer. Returns False, as there is no next element."""
        self._state = _State.COMPLETE
        self.error = self.error or error
        self._buffer.clear()
        return False

    def _finish_in_order(self) -> bool:
        """Complete the answer at its proper end. What follows belongs to no answer, except for line breaks."""
        return self._finish(PROTOCOL if self._buffer.strip() else None)

    def _is_prefix(self) -> bool:
        """Whether the buffer may be the start of an answer."""
        return _PREFIX.startswith(bytes(self._buffer[: len(_PREFIX)]).upper())

    def _read_head(self) -> bool:
        if self._buffer.startswith((b"\r", b"\n")):  # some servers send a line break too many after an answer
            self._buffer, self._searched = self._buffer.lstrip(b"\r\n"), 0
        found = _HEAD_END.search(self._buffer, self._searched)
        size = found.end() if found else len(self._buffer)
        if not self._is_prefix() or self._overhead + size > MAX_HEAD_BYTES:
            self.end(PROTOCOL)
            return False
        if found is None:
            self._searched = max(0, size - 2)
            return False
        head = parse_head(bytes(self._buffer[:size]))
        del self._buffer[:size]
        self._overhead += size
        self._searched = 0
        if head is None:
            return self._finish(PROTOCOL)
        return head.is_interim or self._begin_body(head)

    def _take_head(self, head: AnswerHead | None) -> None:
        if head is not None and not head.is_interim:
            self.head = head
            self.error = PROTOCOL if head.is_malformed else None

    def _begin_body(self, head: AnswerHead) -> bool:
        self._take_head(head)
        if head.length == -1:  # nobody knows where the body ends
            self.body += self._buffer[:MAX_ANSWER_BYTES]
            return self._finish(PROTOCOL)
        if head.length is None:
            self._state = _State.CHUNK_SIZE if head.is_chunked else _State.UNTIL_CLOSE
        else:
            self._state, self._left = _State.BODY, head.length
        return True

    def _read_body(self) -> bool:
        is_open = self._state is _State.UNTIL_CLOSE
        size = len(self._buffer) if is_open else min(self._left, len(self._buffer))
        self.body += self._buffer[: min(size, MAX_ANSWER_BYTES - len(self.body))]
        del self._buffer[:size]
        self._left -= 0 if is_open else size
        is_ended = not is_open and not self._left
        if not is_ended:
            return len(self.body) == MAX_ANSWER_BYTES and self._cut()
        if self.head is not None and self.head.is_chunked:
            self._state = _State.CHUNK_END
            return True
        return self._finish_in_order()

    def _cut(self) -> bool:
        """Complete the answer before its end: the rest of it would be on the connection."""
        if self.head is not None:
            self.head = replace(self.head, keeps_open=False)
        return self._finish()

    def _read_chunk_size(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        found = _CHUNK_SIZE.match(line)
        if found is None:
            return self._finish(PROTOCOL)
        self._left = int(found[1], 16)
        self._state = _State.BODY if self._left else _State.TRAILER
        return True

    def _read_chunk_end(self) -> bool:
        if bytes(self._buffer[:2]) in (b"", b"\r"):
            return False
        if not self._buffer.startswith((b"\n", b"\r\n")):
            return self._finish(PROTOCOL)
        self._take_line()
        self._state = _State.CHUNK_SIZE
        return True

    def _read_trailer(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        return bool(line.strip()) or self._finish_in_order()

    def _take_line(self) -> bytes | None:
        """Remove the first line from the buffer, with its line break; None if it has not come completely."""
        size = self._buffer.find(b"\n") + 1
        if not size:
            if len(self._buffer) > MAX_HEAD_BYTES:
                self._finish(PROTOCOL)
            return None
        line = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._overhead += size
        return line
