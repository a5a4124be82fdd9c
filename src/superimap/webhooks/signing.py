"""Webhook signatures: the original's `signature` in the body, and the Standard Webhooks headers."""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

_WEBHOOK_ID = re.compile(r"msg_([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """Valid API keys that sign, the present one first, and valid signing secrets, newest first.

    The first API key signs the body, and every secret adds a signature to the headers. `send_traceparent` says
    that the partner wants a `traceparent` as well.
    """

    api_keys: tuple[str, ...] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    send_traceparent: bool = False


class SigningKeySource(Protocol):
    """Source of signing keys."""

    async def get_keys(self, partner_id: int) -> SigningKeys:
        """The partner's unexpired keys."""
        ...


def webhook_id(delivery_id: UUID) -> str:
    """The `webhook-id` of a delivery: the same on every attempt and replay."""
    return f"msg_{delivery_id.hex}"


def delivery_of(webhook_id: str) -> UUID | None:
    """The id of the delivery that has this `webhook-id`, or None if the text is not a `webhook-id`."""
    found = _WEBHOOK_ID.fullmatch(webhook_id)
    return UUID(hex=found[1]) if found else None


def body_signature(api_key: str, *, timestamp: int, sha1: str) -> str:
    """The body's `signature`: hex HMAC-SHA256, keyed by the API key, over timestamp and sha1."""
    return hmac.new(api_key.encode(), f"{timestamp}{sha1}".encode(), hashlib.sha256).hexdigest()


def standard_headers(
    delivery_id: UUID, *, timestamp: int, body: bytes, secrets: Sequence[str]
) -> dict[str, str]:
    """Standard Webhooks headers (specification 1.0.0): id, timestamp, and one `v1` signature for each secret.

    Each secret is `whsec_` and the base64 of its key.
    """
    identity = webhook_id(delivery_id)
    made = [v1_signature(identity, timestamp=timestamp, body=body, secret=secret) for secret in secrets]
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(made),
    }


def v1_signature(identity: str, *, timestamp: int, body: bytes, secret: str) -> str:
    """`v1,` and the base64 HMAC-SHA256 over id, timestamp and body (Standard Webhooks 1.0.0)."""
    signed = f"{identity}.{timestamp}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
