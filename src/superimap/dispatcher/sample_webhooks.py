"""Test webhooks: a sample of each kind, signed like any other webhook and sent once."""

import json
import time
from datetime import UTC, datetime
from email.utils import format_datetime

from superimap.core.config import Settings
from superimap.core.egress import WEBHOOK_PORTS_REFUSED, Guard
from superimap.core.ids import uuid7
from superimap.dispatcher.delivery_sender import stored_answer
from superimap.dispatcher.webhook_client import PostResult, open_client
from superimap.domain.events import EventKind, EventName, ReasonCode
from superimap.domain.mail_stages import MailOrigin
from superimap.mail import envelope, message
from superimap.webhooks import payload, signing
from superimap.webhooks.signing import SigningKeys

MAX_SAMPLE_SECONDS = 20.0
"""Deadline of a sample, or WEBHOOK_TIMEOUT if that is less: a person waits for the result."""

SAMPLE_USER_TAG = "SUPERIMAP_TEST"
SAMPLE_PROVIDER_CODE = "PLAIN"
_MAIL = """\
From: SuperIMAP <superimap@example.com>
To: you@example.com
Date: {date}
Message-ID: <{id}@example.com>
Subject: A test of your webhook

This mail is a sample and belongs to no user. The webhook contains "test": true.
""".replace("\n", "\r\n")


def sample_content(kind: EventKind, *, now: datetime) -> bytes:
    """Content of a webhook of this kind, followed by `"test": true`."""
    user = {"user_tag": SAMPLE_USER_TAG, "imap_provider_code": SAMPLE_PROVIDER_CODE}
    match kind:
        case EventKind.NEW_MAIL:
            raw = _MAIL.format(date=format_datetime(now), id=uuid7().hex).encode()
            mail = message.parse(raw)
            text, was_scrubbed = message.decode_text(raw)
            content = payload.new_mail(
                raw,
                mail,
                text=text,
                is_exact=not was_scrubbed,
                envelope=envelope.as_json(mail.envelope),
                received_at=now.replace(microsecond=0),
                origin=MailOrigin.LIVE,
                user_tag=SAMPLE_USER_TAG,
                imap_provider_code=SAMPLE_PROVIDER_CODE,
            )
        case EventKind.USER_CONNECTED:
            content = payload.user_connected(email="you@example.com", **user)
        case EventKind.USER_DISCONNECTED:
            content = payload.user_disconnected(**user)
        case EventKind.EVENTS:
            content = payload.user_event(
                EventName.USER_REAUTH_REQUIRED,
                happened_at=now,
                code=ReasonCode.LOGIN_REFUSED,
                reason="This is a test: no login was refused.",
                **user,
            )
    return content[:-1] + b"," + json.dumps({"test": True})[1:].encode()


async def send_sample(
    settings: Settings, keys: SigningKeys, kind: EventKind, url: str
) -> tuple[str, PostResult]:
    """POST a sample once, as the dispatcher would. Returns its `webhook-id` and the result; raises nothing."""
    guard = Guard(settings.allowed_networks, own=settings.own_addresses, refused_ports=WEBHOOK_PORTS_REFUSED)
    now = time.time()
    moment = datetime.fromtimestamp(now, UTC)
    body = payload.body(
        sample_content(kind, now=moment),
        timestamp=int(now),
        api_keys=keys.api_keys,
        recorded_at=moment if kind is EventKind.NEW_MAIL else None,
    )
    headers = signing.standard_headers(uuid7(), timestamp=int(now), body=body, secrets=keys.secrets)
    async with open_client(guard, deadline=min(settings.webhook_timeout, MAX_SAMPLE_SECONDS)) as client:
        return headers["webhook-id"], await client.post(url, body, headers)


def shown_answer(result: PostResult) -> str | None:
    """The start of the answer's body, as it is shown; None for an empty one."""
    return stored_answer(result.body) or None
