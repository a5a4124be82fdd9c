"""Status line and headers of an HTTP/1 answer, parsed as leniently as curl does (RFC 9112 defines the format)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

STATUS_LINE = re.compile(
    rb"HTTP/(?P<version>[12](?:\.[0-9])?)[ \t]+(?P<status>[1-9][0-9]{2})(?![0-9])[^\n]*\n", re.IGNORECASE
)
"""curl accepts these: any case, `HTTP/2` in an answer of HTTP/1, no reason phrase, and a line feed alone."""

MAX_LENGTH_DIGITS = 18

_FOLD = re.compile(rb"\r?\n[ \t]+")
_KEEP_ALIVE_TIMEOUT = re.compile(rb"timeout[ \t]*=[ \t]*\"?([0-9]{1,6})", re.IGNORECASE)
_STATUSES_WITHOUT_BODY = frozenset({101, 204, 304})
_NEEDED_HEADERS = frozenset(
    {b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"retry-after"}
)


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """What the headers say about the answer and its connection.

    `length` is the length of the body in bytes: None if the body ends with the connection or is chunked, and -1 if
    the headers contradict each other. `idle_seconds` is the time for which the receiver keeps an idle connection,
    or None if it does not say so.
    """

    status: int
    length: int | None
    is_chunked: bool
    is_malformed: bool
    keeps_open: bool
    idle_seconds: int | None
    retry_after: str | None

    @property
    def is_interim(self) -> bool:
        """Whether another answer follows (RFC 9110 section 15.2); 101 is the last one in HTTP/1."""
        return self.status < 200 and self.status != 101


def parse_head(head: bytes) -> AnswerHead | None:
    """Parse a status line and the header lines that came; None if there is no complete status line."""
    line = STATUS_LINE.match(head)
    if line is None:
        return None
    status = int(line["status"])
    values: dict[bytes, list[bytes]] = {}
    is_malformed = False
    for name, value in _fields(head[line.end() :]):
        if name is None:
            is_malformed = True
        elif name in _NEEDED_HEADERS:
            values.setdefault(name, []).append(value)
    codings = b",".join(values.get(b"transfer-encoding", ())).lower()
    length = _length(status, codings, values.get(b"content-length", ()))
    is_chunked = length is None and codings.rpartition(b",")[2].strip() == b"chunked"
    hint = _KEEP_ALIVE_TIMEOUT.search(b",".join(values.get(b"keep-alive", ())))
    waits = values.get(b"retry-after")
    return AnswerHead(
        status=status,
        length=length,
        is_chunked=is_chunked,
        is_malformed=is_malformed,
        keeps_open=(is_chunked or length is not None) and _keeps_open(line["version"], status, values),
        idle_seconds=int(hint[1]) if hint else None,
        retry_after=waits[0].decode("latin-1") if waits else None,
    )


def _length(status: int, codings: bytes, values: Sequence[bytes]) -> int | None:
    """Length of the body by RFC 9112 section 6.3: None if other rules apply, -1 if the headers are invalid."""
    if status in _STATUSES_WITHOUT_BODY:
        return 0
    if codings or not values:
        return None
    lengths = {part.strip() for value in values for part in value.split(b",")}
    text = lengths.pop()
    return int(text) if not lengths and text.isdigit() and len(text) <= MAX_LENGTH_DIGITS else -1


def _keeps_open(version: bytes, status: int, values: Mapping[bytes, Sequence[bytes]]) -> bool:
    options = b",".join(values.get(b"connection", ())).lower()
    if (
        b"close" in options
        or status == 101
        or (b"transfer-encoding" in values and b"content-length" in values)
    ):
        return False
    return version == b"1.1" or (version == b"1.0" and b"keep-alive" in options)


def _fields(lines: bytes) -> Iterable[tuple[bytes | None, bytes]]:
    """Names in lower case, and values. A folded line continues its value. A line without colon has no name."""
    for line in _FOLD.sub(b" ", lines).split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon:
            yield name.strip().lower(), value.strip()
        elif line.strip():
            yield None, b""
