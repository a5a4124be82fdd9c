"""How a receiver knows that a webhook is ours and whole: two signatures, side by side."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from uuid import UUID


def webhook_id(delivery_id: UUID) -> str:
    """The `webhook-id` of a delivery: the same on every attempt and replay."""
    return f"msg_{delivery_id.hex}"


def body_signature(api_key: str, *, timestamp: int, sha1: str) -> str:
    """The body's `signature`: hex HMAC-SHA256 keyed by the API key over timestamp and sha1."""
    return hmac.new(api_key.encode(), f"{timestamp}{sha1}".encode(), hashlib.sha256).hexdigest()


def standard_headers(
    delivery_id: UUID, *, timestamp: int, body: bytes, secrets: Sequence[str]
) -> dict[str, str]:
    """Standard Webhooks headers (specification 1.0.0): id, timestamp, and one `v1` signature a secret.

    Each secret is `whsec_` and base64 of the key.
    """
    identity = webhook_id(delivery_id)
    signed = f"{identity}.{timestamp}.".encode() + body
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_v1(secret, signed) for secret in secrets),
    }


def _v1(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
