"""What does a raw mail say about itself? Never raises, whatever the bytes are."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from superimap.envelope import Envelope, clean
from superimap.mail import envelope, headers

MESSAGE_ID_LENGTH = 255

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
    )
)


@dataclass(frozen=True)
class Mail:
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

    @cached_property
    def envelope(self) -> Envelope:
        """Built when it is asked for: the server's own is wanted first."""
        return envelope.from_headers(self.headers)


def parse(raw: bytes) -> Mail:
    """The Mail in these bytes. A mail without any header is a Mail with defects."""
    found = headers.read(raw, _NAMES)
    message_ids = found.get("message-id", [b""])
    return Mail(
        sha1=hashlib.sha1(raw, usedforsecurity=False).hexdigest(),
        size=len(raw),
        message_id=clean(message_ids[0])[:MESSAGE_ID_LENGTH] or None,
        defects=tuple(_defects(raw, found)),
        headers=found,
    )


def _defects(raw: bytes, found: Mapping[str, Sequence[bytes]]) -> list[str]:
    block = headers.section(raw)
    return [
        defect
        for defect, holds in (
            ("no headers", not found),
            ("headers cut", len(block) == headers.LONGEST and len(raw) > headers.LONGEST),
            ("NUL in the headers", b"\0" in block),
            ("headers not ASCII", not block.isascii()),
            ("no Message-ID", "message-id" not in found),
            *((f"several {name}", len(values) > 1) for name, values in sorted(found.items())),
        )
        if holds
    ]


def text_of(raw: bytes) -> tuple[str, bool]:
    """The mail as text, bad UTF-8 replaced by U+FFFD, and whether that changed any byte.

    If it did not, the text encodes to exactly these bytes again.
    """
    try:
        return raw.decode("utf-8"), False
    except UnicodeDecodeError:
        return raw.decode("utf-8", errors="replace"), True
