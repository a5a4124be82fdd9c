"""Parsing of a raw mail: headers, digests, text. Never raises, whatever the bytes are."""

import codecs
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from superimap.domain.envelope import Envelope
from superimap.domain.mails import RULE_HEADERS
from superimap.mail import envelope, tracer
from superimap.mail.headers import MAX_HEADER_BYTES, find_headers, read_headers

PIECE_BYTES = 64 * 1024
"""Bytes decoded or hashed at once: no step of the work on a big mail may hold Python's global lock for long."""
_MAX_CHEAP_MAIL_BYTES = 128 * 1024
_MAX_CHEAP_HEADER_BYTES = 8 * 1024

_NAMES = frozenset({
    b"date", b"subject", b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"in-reply-to", b"message-id",
    tracer.HEADER.lower(), *RULE_HEADERS,
})  # fmt: skip
_MESSAGE_ID = frozenset((b"message-id",))


@dataclass(frozen=True)
class ParsedMail:
    """What is kept of a raw mail. Its bytes are not."""

    sha1: str
    """Hexadecimal SHA-1 of the exact raw bytes."""
    size: int
    """Bytes of the raw mail."""
    message_id: str | None
    """The Message-ID as sent, cut at MAX_MESSAGE_ID_CHARS; None if there is none."""
    headers: Mapping[str, Sequence[bytes]] = field(repr=False, compare=False)

    body_digest: bytes = field(repr=False)
    """SHA-256 of the body, independent of line endings and of empty lines at its start and end."""

    @cached_property
    def envelope(self) -> Envelope:
        """The envelope, built on first use."""
        return envelope.from_headers(self.headers)

    @cached_property
    def fingerprint(self) -> bytes | None:
        """The fingerprint (see `mail.envelope.fingerprint`)."""
        return envelope.fingerprint(self.envelope, self.body_digest)


def parse(raw: bytes) -> ParsedMail:
    """Parse a raw mail. A mail may have no headers at all."""
    section = find_headers(raw)
    found = read_headers(section.lines, _NAMES)
    return ParsedMail(
        sha1=hashlib.sha1(raw, usedforsecurity=False).hexdigest(),
        size=len(raw),
        message_id=envelope.message_id(found),
        headers=found,
        body_digest=_body_digest(raw, section.end),
    )


def read_message_id(raw: bytes, *, limit: int = MAX_HEADER_BYTES) -> str | None:
    """Return the Message-ID as `parse` does, if it is in the first `limit` bytes of the mail."""
    return envelope.message_id(read_headers(find_headers(raw, limit).lines, _MESSAGE_ID))


def read_envelope(raw: bytes) -> Envelope:
    """Return the envelope of a mail, or of its headers alone."""
    return envelope.from_headers(read_headers(find_headers(raw).lines, _NAMES))


def _body_digest(raw: bytes, start: int) -> bytes:
    """Hash the body with normalised line endings, because servers that store or move a mail change them."""
    start, end = _without_empty_lines(raw, start)
    digest = hashlib.sha256()
    while start < end:
        stop = min(start + PIECE_BYTES, end)
        stop += raw[stop - 1 : stop + 1] == b"\r\n"  # never splits CRLF
        digest.update(raw[start:stop].replace(b"\r\n", b"\n"))
        start = stop
    return digest.digest()


def _without_empty_lines(raw: bytes, start: int) -> tuple[int, int]:
    """Return where the first non-empty line after `start` begins, and where the last one ends."""
    end = len(raw)
    while start < end and raw[start] in b"\r\n":
        piece = raw[start : start + PIECE_BYTES]
        start += len(piece) - len(piece.lstrip(b"\r\n"))
    while start < end and raw[end - 1] in b"\r\n":
        piece = raw[max(start, end - PIECE_BYTES) : end]
        end -= len(piece) - len(piece.rstrip(b"\r\n"))
    return start, end


def is_cheap(raw: bytes) -> bool:
    """Whether all work on the mail takes a few milliseconds at most, however malformed it is.

    The most expensive mail per byte has a header that consists of short addresses.
    """
    return len(raw) <= _MAX_CHEAP_MAIL_BYTES and len(find_headers(raw).lines) <= _MAX_CHEAP_HEADER_BYTES


def decode_text(raw: bytes) -> tuple[list[str], bool]:
    """Decode the mail in pieces, replacing invalid UTF-8 by U+FFFD; return whether anything was replaced.

    If nothing was, the text encodes to exactly these bytes again.
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
