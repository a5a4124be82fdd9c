"""Webhook signatures: sign a webhook as SuperIMAP does, and verify one as a receiver does."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any


def signed_webhook(
    fields: Mapping[str, Any],
    *,
    api_key: str,
    secret: str,
    webhook_id: str | None = None,
    timestamp: int | None = None,
) -> tuple[dict[str, str], bytes]:
    """Build the headers and the body of a signed webhook, to test a receiver with.

    `fields` are those of docs/webhooks.md, without `timestamp` and `signature`; `sha1` is required. `secret` is
    `whsec_` and base64. By default the id is random, and the timestamp (Unix seconds) is now.
    """
    webhook_id = webhook_id or f"msg_{secrets.token_hex(16)}"
    timestamp = int(time.time()) if timestamp is None else timestamp
    head = {"timestamp": timestamp, "signature": _body_signature(timestamp, fields["sha1"], api_key)}
    body = json.dumps(head | dict(fields)).encode()
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    headers = {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": _standard_signature(webhook_id, str(timestamp), body, key).decode(),
    }
    return headers, body


def verify_body_signature(body: Mapping[str, Any], api_key: str) -> bool:
    """Whether `signature` in a webhook's body is the hex HMAC-SHA256 of timestamp and sha1 under the API key.

    Returns False, and never raises, for a body that lacks one of them. Compares in constant time.
    """
    signature = body.get("signature")
    if not isinstance(signature, str) or "timestamp" not in body or "sha1" not in body:
        return False
    expected = _body_signature(body["timestamp"], body["sha1"], api_key)
    return hmac.compare_digest(expected.encode(), signature.encode())


def verify_standard(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether one of the v1 signatures of Standard Webhooks is valid; `secret` is `whsec_` and base64.

    Returns False for missing or malformed headers. The caller checks the age of the timestamp. Compares in
    constant time.
    """
    fields = {name.lower(): value for name, value in headers.items()}
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        expected = _standard_signature(fields["webhook-id"], fields["webhook-timestamp"], body, key)
        offered = fields["webhook-signature"].split(" ")
    except (KeyError, ValueError, binascii.Error):
        return False
    return any([hmac.compare_digest(expected, signature.encode()) for signature in offered])


def _body_signature(timestamp: object, sha1: object, api_key: str) -> str:
    return hmac.new(api_key.encode(), f"{timestamp}{sha1}".encode(), hashlib.sha256).hexdigest()


def _standard_signature(webhook_id: str, timestamp: str, body: bytes, key: bytes) -> bytes:
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
