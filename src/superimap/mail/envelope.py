"""Envelopes: built from raw headers, formatted for webhooks, and digested to fingerprints.

`from_headers` builds what RFC 9051 section 7.5.2 calls ENVELOPE. A server's own ENVELOPE is never requested.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from email.utils import getaddresses
from typing import Any

from superimap.domain.envelope import Address, Envelope, clean_text

MAX_LISTED_ADDRESSES = 2000
"""Addresses of one header that a webhook's `envelope` lists. The mail itself has the whole header."""
FINGERPRINT_HEADERS = frozenset(("message-id", "date", "from", "subject"))
_MAX_ADDRESS_HEADER_CHARS = 65_536  # of an address header that are parsed
_MAX_FINGERPRINT_SENDERS = 100  # addresses of From that count for a fingerprint


def from_headers(headers: Mapping[str, Sequence[bytes]], *, only: frozenset[str] | None = None) -> Envelope:
    """Build the envelope from unfolded header values by lower-case name. Never raises.

    Of several values the first counts. `only` limits which headers are read. Sender and Reply-To default to From.
    Members of a group are listed without the group's name.
    """
    text = {
        name: clean_text(values[0])
        for name, values in headers.items()
        if values and (not only or name in only)
    }
    from_ = addresses(text.get("from"))
    return Envelope(
        date=text.get("date"),
        subject=text.get("subject"),
        from_=from_,
        sender=addresses(text.get("sender")) or from_,
        reply_to=addresses(text.get("reply-to")) or from_,
        to=addresses(text.get("to")),
        cc=addresses(text.get("cc")),
        bcc=addresses(text.get("bcc")),
        in_reply_to=text.get("in-reply-to"),
        message_id=text.get("message-id"),
    )


def addresses(value: str | None) -> tuple[Address, ...] | None:
    """Parse the addresses of a header; encoded words stay encoded. None if there are none. Never raises."""
    if not value:
        return None
    try:
        pairs = getaddresses([value[:_MAX_ADDRESS_HEADER_CHARS]])
    except (ValueError, IndexError, RecursionError, TypeError, AttributeError):
        return None
    return tuple(_address(name, spec) for name, spec in pairs if name or spec) or None


def _address(name: str, spec: str) -> Address:
    mailbox, at, host = spec.rpartition("@")
    return Address(
        name=name or None, route=None, mailbox=(mailbox if at else spec) or None, host=host if at else None
    )


def as_json(envelope: Envelope) -> dict[str, Any]:
    """Format the `envelope` of a webhook: super-imap's keys, each address list null or a list of objects."""
    return {
        "date": envelope.date,
        "subject": envelope.subject,
        "from": _as_list(envelope.from_),
        "sender": _as_list(envelope.sender),
        "reply_to": _as_list(envelope.reply_to),
        "to": _as_list(envelope.to),
        "cc": _as_list(envelope.cc),
        "bcc": _as_list(envelope.bcc),
        "in_reply_to": envelope.in_reply_to,
        "message_id": envelope.message_id,
    }


def _as_list(found: tuple[Address, ...] | None) -> list[dict[str, str | None]] | None:
    if found is None:
        return None
    return [
        {"name": each.name, "route": each.route, "mailbox": each.mailbox, "host": each.host}
        for each in found[:MAX_LISTED_ADDRESSES]
    ]


def fingerprint(envelope: Envelope, body_digest: bytes) -> bytes | None:
    """Return 32 bytes that two copies of one mail share, even if a server has rewritten other headers.

    Made of Message-ID, Date, From, Subject and body; None without a Message-ID. A run of white space counts as one
    blank, because servers unfold differently. JSON keeps the fields apart.
    """
    if not envelope.message_id or not envelope.message_id.strip():
        return None
    senders = [
        (each.name, each.route, each.mailbox, each.host)
        for each in (envelope.from_ or ())[:_MAX_FINGERPRINT_SENDERS]
    ]
    parts = [_plain(envelope.message_id), _plain(envelope.date), senders, _plain(envelope.subject)]
    parts.append(body_digest.hex())
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode("ascii")).digest()


def _plain(value: str | None) -> str | None:
    return None if value is None else " ".join(value.split())
