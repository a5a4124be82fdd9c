"""Envelope of a mail (RFC 9051 section 7.5.2), which `mail` reads from the raw headers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """One address, or the marker of a group: `host` is None at its start; at its end `mailbox` is None as well."""

    name: str | None
    route: str | None
    mailbox: str | None
    host: str | None


@dataclass(frozen=True, slots=True)
class Envelope:
    """Header values as they were sent, with MIME encoded words. `clean` has removed NUL from each value."""

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


def clean_text(value: bytes) -> str:
    """Return header bytes as text. Invalid UTF-8 and NUL, which PostgreSQL cannot store, become U+FFFD."""
    return value.decode("utf-8", errors="replace").replace("\0", "\ufffd")
