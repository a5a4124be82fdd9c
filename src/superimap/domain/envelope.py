"""What does the envelope of a mail hold? (RFC 9051 section 7.5.2)

`imap` builds one from the server's ENVELOPE and `mail` one from the raw headers; both must be the same thing.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """One address, or a marker of a group: `host` is None at its start, `mailbox` too at its end."""

    name: str | None
    route: str | None
    mailbox: str | None
    host: str | None


@dataclass(frozen=True, slots=True)
class Envelope:
    """The header values as they were sent, MIME encoded words and all. Made by `clean`, so free of NUL."""

    date: str | None = None
    subject: str | None = None
    from_: tuple[Address, ...] | None = None
    sender: tuple[Address, ...] | None = None
    reply_to: tuple[Address, ...] | None = None
    to: tuple[Address, ...] | None = None
    cc: tuple[Address, ...] | None = None
    bcc: tuple[Address, ...] | None = None
    in_reply_to: str | None = None
    message_id: str | None = None


def clean(value: bytes) -> str:
    """Header bytes as text; what is not UTF-8 becomes U+FFFD, and so does NUL (PostgreSQL cannot hold it)."""
    return value.decode("utf-8", errors="replace").replace("\0", "\ufffd")
