"""What does a raw mail say about itself? Never raises, whatever the bytes are."""

import codecs
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from superimap.domain.envelope import Envelope, clean
from superimap.mail import envelope, headers, tracer

MAX_MESSAGE_ID_CHARS = 255
PIECE_BYTES = 64 * 1024
"""Bytes that are decoded at once: no step of the work on a big mail may hold Python's lock for long."""
_QUICK_MAIL = 128 * 1024
_QUICK_HEADERS = 8 * 1024

_NAMES = frozenset(
    (
        b"date",
        b"subject",
        b"from",
        b"sender",
        b"reply-to",
        b"to",
        b"cc",
        b"bcc",
        b"in-reply-to",
        b"message-id",
        tracer.HEADER.lower(),
    )
)


@dataclass(frozen=True)
class ParsedMail:
    """What is kept of a raw mail; its bytes are not."""

    sha1: str
    """Hexadecimal, of the raw bytes exactly."""
    size: int
    """In bytes."""
    message_id: str | None
    """As it was sent, cut at 255 characters; None if there is none."""
    defects: tuple[str, ...]
    """What is wrong with the headers, in words of ours: no content."""
    headers: Mapping[str, Sequence[bytes]] = field(repr=False, compare=False)

    body_digest: bytes = field(repr=False)
    """SHA-256 of what follows the headers; of line ends, and of empty lines at the end, it knows nothing."""

    @cached_property
    def envelope(self) -> Envelope:
        """Built when it is asked for: the server's own is wanted first."""
        return envelope.from_headers(self.headers)

    @cached_property
    def fingerprint(self) -> bytes | None:
        """See `mail.envelope.fingerprint`; only what it is made of is parsed."""
        made_of = envelope.from_headers(self.headers, only=envelope.FINGERPRINT_HEADERS)
        return envelope.fingerprint(made_of, self.body_digest)


def parse(raw: bytes) -> ParsedMail:
    """The Mail in these bytes. A mail without any header is a Mail with defects."""
    found = headers.read(raw, _NAMES)
    message_ids = found.get("message-id", [b""])
    return ParsedMail(
        sha1=hashlib.sha1(raw, usedforsecurity=False).hexdigest(),
        size=len(raw),
        message_id=clean(message_ids[0])[:MAX_MESSAGE_ID_CHARS] or None,
        defects=tuple(_defects(raw, found)),
        headers=found,
        body_digest=_body_digest(raw),
    )


def _body_digest(raw: bytes) -> bytes:
    """Servers that store or move a mail end its lines in their own way."""
    start, end = _without_empty_lines(raw, len(headers.section(raw)))
    digest = hashlib.sha256()
    while start < end:
        stop = min(start + PIECE_BYTES, end)
        stop += raw[stop - 1 : stop + 1] == b"\r\n"  # never between the two
        digest.update(raw[start:stop].replace(b"\r\n", b"\n"))
        start = stop
    return digest.digest()


def _without_empty_lines(raw: bytes, start: int) -> tuple[int, int]:
    """Where the first line after `start` that is not empty begins, and where the last one ends."""
    end = len(raw)
    while start < end and raw[start] in b"\r\n":
        piece = raw[start : start + PIECE_BYTES]
        start += len(piece) - len(piece.lstrip(b"\r\n"))
    while start < end and raw[end - 1] in b"\r\n":
        piece = raw[max(start, end - PIECE_BYTES) : end]
        end -= len(piece) - len(piece.rstrip(b"\r\n"))
    return start, end


def _defects(raw: bytes, found: Mapping[str, Sequence[bytes]]) -> list[str]:
    block = headers.section(raw)
    return [
        defect
        for defect, holds in (
            ("no headers", not found),
            ("headers cut", len(block) == headers.MAX_HEADER_BYTES and len(raw) > headers.MAX_HEADER_BYTES),
            ("NUL in the headers", b"\0" in block),
            ("headers not ASCII", not block.isascii()),
            ("no Message-ID", "message-id" not in found),
            *((f"several {name}", len(values) > 1) for name, values in sorted(found.items())),
        )
        if holds
    ]


def is_cheap(raw: bytes) -> bool:
    """Whether all that can be done with the mail takes a few milliseconds, however malformed it is.

    What costs most for a byte is a header of nothing but short addresses.
    """
    return len(raw) <= _QUICK_MAIL and len(headers.section(raw)) <= _QUICK_HEADERS


def decode_text(raw: bytes) -> tuple[list[str], bool]:
    """The mail as text in pieces, bad UTF-8 replaced by U+FFFD, and whether that changed any byte.

    If it did not, the text encodes to exactly these bytes again.
    """
    try:
        return list(_decoded(raw, "strict")), False
    except UnicodeDecodeError:
        return list(_decoded(raw, "replace")), True


def _decoded(raw: bytes, errors: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    for start in range(0, len(raw), PIECE_BYTES):
        yield decoder.decode(raw[start : start + PIECE_BYTES])
    yield decoder.decode(b"", final=True)
