"""What does an endpoint answer to a webhook that is none? A sample, signed like any other, sent once."""

import json
import time
from datetime import UTC, datetime
from email.utils import format_datetime

from superimap.core.config import Settings
from superimap.core.egress import WEBHOOK_PORTS_REFUSED, Guard
from superimap.core.ids import uuid7
from superimap.dispatcher.delivery_sender import MAX_STORED_ANSWER_CHARACTERS
from superimap.dispatcher.webhook_client import PostResult, open_client
from superimap.domain.answers import Delivered, verdict
from superimap.domain.events import EventKind, EventName, ReasonCode
from superimap.mail import envelope, message
from superimap.webhooks import payload, signing
from superimap.webhooks.signing import SigningKeys

MAX_SAMPLE_SECONDS = 20.0
"""Seconds for the whole of it, or WEBHOOK_TIMEOUT if that is less: somebody waits for the answer."""

TAG = "SUPERIMAP_TEST"
CODE = "PLAIN"
_MAIL = """\
From: SuperIMAP <superimap@example.com>
To: you@example.com
Date: {date}
Message-ID: <{id}@example.com>
Subject: A test of your webhook

This is no mail of anybody's. "test": true in the webhook says so.
""".replace("\n", "\r\n")


def sample_content(kind: EventKind, *, now: datetime) -> bytes:
    """Content of a webhook of this kind as it would be, and `"test": true` behind it."""
    user = {"user_tag": TAG, "imap_provider_code": CODE}
    match kind:
        case EventKind.NEW_MAIL:
            raw = _MAIL.format(date=format_datetime(now), id=uuid7().hex).encode()
            read = message.parse(raw)
            text, was_scrubbed = message.decode_text(raw)
            content = payload.new_mail(
                raw,
                read,
                text=text,
                is_exact=not was_scrubbed,
                envelope=envelope.as_json(read.envelope),
                **user,
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
                reason="This is a test: nobody was refused.",
                **user,
            )
    return content[:-1] + b"," + json.dumps({"test": True})[1:].encode()


async def send_sample(
    settings: Settings, keys: SigningKeys, kind: EventKind, url: str
) -> tuple[str, PostResult]:
    """POST a sample once, as the dispatcher would; its `webhook-id` and what came back. Raises nothing."""
    guard = Guard(settings.allowed_networks, own=settings.own_addresses, refused_ports=WEBHOOK_PORTS_REFUSED)
    now = time.time()
    body = payload.body(
        sample_content(kind, now=datetime.fromtimestamp(now, UTC)), timestamp=int(now), api_keys=keys.api_keys
    )
    headers = signing.standard_headers(uuid7(), timestamp=int(now), body=body, secrets=keys.secrets)
    async with open_client(guard, deadline=min(settings.webhook_timeout, MAX_SAMPLE_SECONDS)) as post:
        return headers["webhook-id"], await post.post(url, body, headers)


def is_success(answer: PostResult) -> bool:
    """Whether a delivery with this answer would be delivered."""
    return isinstance(verdict(answer.status, attempt=1, chance=0.0), Delivered)


def shown_answer(answer: PostResult) -> str | None:
    """The answer as far as it is shown; None for an empty one."""
    return answer.body.replace("\0", "")[:MAX_STORED_ANSWER_CHARACTERS] or None
