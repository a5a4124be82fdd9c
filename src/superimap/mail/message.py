"""Parsing of a raw mail: headers, digests, defects, text. Never raises, whatever the bytes are.

Header values are kept as they were sent, only unfolded (RFC 5322 section 2.2). A general parser would decode them,
or stop at the first defect, and would read the body as well, which is not needed here.
"""

import codecs
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from superimap.domain.envelope import Envelope, clean_text
from superimap.domain.mails import RULE_HEADERS
from superimap.mail import envelope, tracer

MAX_HEADER_BYTES = 256 * 1024
"""Bytes at the start of a mail in which its headers are looked for."""
MAX_MESSAGE_ID_CHARS = 255
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
    defects: tuple[str, ...]
    """Descriptions of what is wrong with the headers. They contain nothing of the mail."""
    headers: Mapping[str, Sequence[bytes]] = field(repr=False, compare=False)

    body_digest: bytes = field(repr=False)
    """SHA-256 of the body, independent of line endings and of empty lines at its start and end."""

    @cached_property
    def envelope(self) -> Envelope:
        """The envelope, built on first use."""
        return envelope.from_headers(self.headers)

    @cached_property
    def fingerprint(self) -> bytes | None:
        """The fingerprint (see `mail.envelope.fingerprint`). Parses only the headers that it is made of."""
        made_of = envelope.from_headers(self.headers, only=envelope.FINGERPRINT_HEADERS)
        return envelope.fingerprint(made_of, self.body_digest)


def parse(raw: bytes) -> ParsedMail:
    """Parse a raw mail. A mail without any header is a ParsedMail with defects."""
    found = read_headers(raw)
    return ParsedMail(
        sha1=hashlib.sha1(raw, usedforsecurity=False).hexdigest(),
        size=len(raw),
        message_id=_message_id(found),
        defects=tuple(_defects(raw, found)),
        headers=found,
        body_digest=_body_digest(raw),
    )


def read_message_id(raw: bytes) -> str | None:
    """Return the Message-ID of a mail, or of the first lines of one, as `parse` does."""
    return _message_id(read_headers(raw, _MESSAGE_ID))


def read_envelope(raw: bytes) -> Envelope:
    """Return the envelope of a mail, or of its headers alone."""
    return envelope.from_headers(read_headers(raw))


def _message_id(headers: Mapping[str, Sequence[bytes]]) -> str | None:
    values = headers.get("message-id")
    return clean_text(values[0])[:MAX_MESSAGE_ID_CHARS] or None if values else None


def read_headers(raw: bytes, names: frozenset[bytes] = _NAMES) -> dict[str, list[bytes]]:
    """Return the unfolded, stripped values of the headers with these lower-case `names`. Never raises."""
    found: dict[str, list[list[bytes]]] = {}
    parts: list[bytes] = []  # of the current value; a list that is not kept if the header is not wanted
    for line in header_section(raw).split(b"\n"):
        if line[:1] in (b" ", b"\t"):
            parts.append(line.removesuffix(b"\r"))
            continue
        name, colon, value = line.partition(b":")
        parts = []
        if colon and (wanted := name.rstrip(b" \t").lower()) in names:
            parts = [value.removesuffix(b"\r")]
            found.setdefault(wanted.decode("ascii"), []).append(parts)
    return {name: [b"".join(value).strip() for value in values] for name, values in found.items()}


def header_section(raw: bytes) -> bytes:
    """Return everything before the empty line that ends the headers, at most MAX_HEADER_BYTES."""
    if raw.startswith((b"\n", b"\r\n")):
        return b""
    end = raw.find(b"\n\r\n", 0, MAX_HEADER_BYTES)
    # The search for a bare LF stops at the end just found, so that it does not search the body in vain.
    sooner = raw.find(b"\n\n", 0, MAX_HEADER_BYTES if end < 0 else end + 1)
    end = end if sooner < 0 else sooner
    return raw[: MAX_HEADER_BYTES if end < 0 else end]


def _body_digest(raw: bytes) -> bytes:
    """Hash the body with normalised line endings, because servers that store or move a mail change them."""
    start, end = _without_empty_lines(raw, len(header_section(raw)))
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


def _defects(raw: bytes, found: Mapping[str, Sequence[bytes]]) -> list[str]:
    block = header_section(raw)
    return [
        defect
        for defect, holds in (
            ("no headers", not found),
            ("headers cut", len(block) == MAX_HEADER_BYTES and len(raw) > MAX_HEADER_BYTES),
            ("NUL in the headers", b"\0" in block),
            ("headers not ASCII", not block.isascii()),
            ("no Message-ID", "message-id" not in found),
            *((f"several {name}", len(values) > 1) for name, values in sorted(found.items())),
        )
        if holds
    ]


def is_cheap(raw: bytes) -> bool:
    """Whether all work on the mail takes a few milliseconds at most, however malformed it is.

    The most expensive mail per byte has a header that consists of short addresses.
    """
    return len(raw) <= _MAX_CHEAP_MAIL_BYTES and len(header_section(raw)) <= _MAX_CHEAP_HEADER_BYTES


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
