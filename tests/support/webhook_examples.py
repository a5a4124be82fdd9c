"""Webhooks of each kind with every field that they can have, signed as they are sent."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from superimap.core import crypto
from superimap.core.ids import uuid7
from superimap.domain.events import EVENTS, EventKind, EventName
from superimap.domain.folders import MailFolder
from superimap.domain.mail_stages import MailOrigin
from superimap.mail import envelope as envelopes
from superimap.mail import message as mail
from superimap.webhooks import payload, signing

API_KEY, OTHER_KEY = "sip_one", "sip_two"
SECRET, OTHER_SECRET = crypto.generate_signing_secret(), crypto.generate_signing_secret()

RAW = "From: Ada <ada@example.com>\r\nMessage-ID: <1@example.com>\r\n\r\ncaf\xe9\r\n".encode("latin-1")


def content(kind: EventKind) -> bytes:
    """The content of a webhook of this kind, with every field that it can have."""
    read = mail.parse(RAW)
    text, was_scrubbed = mail.decode_text(RAW)
    user = {"user_tag": "MY_USER", "imap_provider_code": "PLAIN"}
    match kind:
        case EventKind.NEW_MAIL:
            return payload.new_mail(
                RAW,
                read,
                text=text,
                is_exact=not was_scrubbed,
                envelope=envelopes.as_json(read.envelope),
                received_at=datetime.now(UTC).replace(microsecond=0),
                origin=MailOrigin.LIVE,
                folder=MailFolder("Sent", "\\Sent"),
                user_tag=user["user_tag"],
                imap_provider_code=user["imap_provider_code"],
            )
        case EventKind.USER_CONNECTED:
            return payload.user_connected(email="ada@example.com", **user)
        case EventKind.USER_DISCONNECTED:
            return payload.user_disconnected(**user)
        case EventKind.EVENTS:
            return event(EventName.USER_RECOVERED)


def event(name: EventName) -> bytes:
    """The content of an event with every field that it can have."""
    user = {"user_tag": "MY_USER", "imap_provider_code": "PLAIN"}
    now = datetime.now(UTC)
    if name is EventName.MAIL_UNREADABLE:
        return payload.mail_unreadable(
            happened_at=now, message=4211, uid_validity=1, uid=2, internal_date=now, reason="No.", **user
        )
    if name in (EventName.MAIL_FLAGS_CHANGED, EventName.MAIL_MOVED, EventName.MAIL_DELETED):
        values = dict.fromkeys(EVENTS[name].fields, 1) | {
            "mail_sha1": "0" * 40,
            "mailbox": "INBOX",
            "flags": ["\\Seen"],
            "added": ["\\Seen"],
            "removed": [],
        }
        return payload.mail_change(name, happened_at=now, values=values, **user)
    if name is not EventName.MAIL_OVERSIZED:
        return payload.user_event(
            name, happened_at=now, code="login_refused", reason="No.", connect_url="https://x", **user
        )
    envelope = envelopes.as_json(mail.parse(RAW).envelope)
    return payload.mail_oversized(
        happened_at=now, uid_validity=1, uid=2, internal_date=now, size=3, limit=2, envelope=envelope, **user
    )


def webhook(
    kind: EventKind = EventKind.NEW_MAIL, *, age: int = 0, keys: int = 1
) -> tuple[dict[str, str], bytes]:
    """Headers and body as they are sent; with two keys, as during a rotation."""
    now = int(time.time()) - age
    recorded_at = datetime.now(UTC) if kind is EventKind.NEW_MAIL else None
    given_keys = (API_KEY, OTHER_KEY)[:keys]
    raw = payload.body(content(kind), timestamp=now, api_keys=given_keys, recorded_at=recorded_at)
    secrets = (OTHER_SECRET, SECRET)[2 - keys :]
    return signing.standard_headers(uuid7(), timestamp=now, body=raw, secrets=secrets), raw
