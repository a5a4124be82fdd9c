"""Envelopes: built from raw headers, formatted for webhooks, and digested to fingerprints.

`from_headers` builds what RFC 9051 section 7.5.2 calls ENVELOPE. A server's own ENVELOPE is never requested.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from superimap.domain.envelope import Address, Envelope, clean_text
from superimap.mail.addresses import parse_addresses
from superimap.mail.headers import first_value

MAX_MESSAGE_ID_CHARS = 255
"""Characters of a Message-ID that `messages` stores."""
_ID = re.compile(r"<\s*+[^<>\s][^<>]*+>")
_MAX_FINGERPRINT_SENDERS = 100  # addresses of From that count for a fingerprint


def from_headers(headers: Mapping[str, Sequence[bytes]]) -> Envelope:
    """Build the envelope from unfolded header values by lower-case name. Never raises.

    Of several values the first counts that is not empty. Sender and Reply-To default to From. A Message-ID that
    is empty is None.
    """
    text = {name: clean_text(first_value(values)) for name, values in headers.items()}
    from_ = _addresses(text.get("from"))
    return Envelope(
        date=text.get("date"),
        subject=text.get("subject"),
        from_=from_,
        sender=_addresses(text.get("sender")) or from_,
        reply_to=_addresses(text.get("reply-to")) or from_,
        to=_addresses(text.get("to")),
        cc=_addresses(text.get("cc")),
        bcc=_addresses(text.get("bcc")),
        in_reply_to=_with_plain_ids(text.get("in-reply-to")),
        message_id=_id_in(text.get("message-id", "")),
    )


def message_id(headers: Mapping[str, Sequence[bytes]]) -> str | None:
    """Return the Message-ID of the envelope, cut at MAX_MESSAGE_ID_CHARS."""
    values = headers.get("message-id")
    found = _id_in(clean_text(first_value(values))) if values else None
    return found[:MAX_MESSAGE_ID_CHARS] if found else None


def _id_in(value: str) -> str | None:
    """Return the first id in angle brackets, without white space: ids are folded, and comments follow them.

    A value without brackets is an id as a whole.
    """
    if found := _ID.search(value):
        return _without_blanks(found)
    value = value.strip()
    return value if value.strip("<> ") else None


def _with_plain_ids(value: str | None) -> str | None:
    """Remove white space within the ids, so that each equals the Message-ID of its mail."""
    return value and _ID.sub(_without_blanks, value)


def _without_blanks(found: re.Match[str]) -> str:
    return found[0] if '"' in found[0] else "".join(found[0].split())


def _addresses(value: str | None) -> tuple[Address, ...] | None:
    return (parse_addresses(value) or None) if value else None


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
        {"name": each.name, "route": each.route, "mailbox": each.mailbox, "host": each.host} for each in found
    ]


def fingerprint(envelope: Envelope, body_digest: bytes) -> bytes | None:
    """Return 32 bytes that two copies of one mail share, even if a server has rewritten other headers.

    Made of Message-ID, Date, From, Subject and body; None without a Message-ID. A run of white space counts as one
    blank, because servers unfold differently. JSON keeps the fields apart.
    """
    if not (envelope.message_id or "").strip():
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
