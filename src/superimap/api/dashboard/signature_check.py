"""Check of the signatures of a webhook request that a developer has pasted, with what may be the cause."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.crypto import Vault, constant_time_equal
from superimap.db.accounts import partner_keys
from superimap.webhooks.signing import SigningKeys, body_signature, v1_signature

HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
TOLERANCE_SECONDS = 300
"""Age of a timestamp that receivers accept (Standard Webhooks 1.0.0)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One step of the check; `tone` is good, bad or warn."""

    tone: str
    text: str


async def check(db: AsyncSession, vault: Vault, partner_id: int, text: str) -> list[Finding]:
    """Check a pasted request with the signing keys of a partner."""
    keys = await partner_keys.signing_keys(db, vault, partner_id)
    return list(findings(text, keys, now=time.time()))


def findings(text: str, keys: SigningKeys, *, now: float) -> Iterator[Finding]:
    """Yield what is found about a request: headers, an empty line, and the body. Pure."""
    headers, body = split_request(text)
    missing = [name for name in HEADERS if name not in headers]
    if missing:
        names = ", ".join(missing)
        yield Finding("bad", f"Missing: {names}. Paste the headers, an empty line, and the body.")
    else:
        yield from _check_headers(headers, body, keys.secrets, now=now)
    yield from _check_body(body, keys.api_keys)


def split_request(text: str) -> tuple[dict[str, str], str]:
    """Return the headers, with names in lower case, and the body behind the first empty line."""
    lines = text.replace("\r\n", "\n")
    head, _, body = lines.lstrip("\n").partition("\n\n")
    headers = {}
    for line in head.split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return headers, body


def _check_headers(
    headers: Mapping[str, str], body: str, secrets: Sequence[str], *, now: float
) -> Iterator[Finding]:
    stamp = headers["webhook-timestamp"]
    if not stamp.isascii() or not stamp.isdecimal() or len(stamp) > 12:
        yield Finding("bad", "webhook-timestamp is not a number of seconds since 1970.")
        return
    offered = headers["webhook-signature"].split()
    if not any(each.startswith("v1,") for each in offered):
        yield Finding("bad", "webhook-signature has no part that begins with v1, (a comma, then base64).")
        return
    identity, at = headers["webhook-id"], int(stamp)
    forms = (how for how, form in _variants(body) if _fits(identity, at, form, offered, secrets))
    yield _signature_finding(next(forms, None))
    age = now - at
    if abs(age) > TOLERANCE_SECONDS:
        side = "old" if age > 0 else "ahead"
        yield Finding("warn", f"The timestamp is {abs(age) / 60:.0f} minutes {side}: receivers refuse it.")


def _signature_finding(variant: str | None) -> Finding:
    """Return what it means that the signature fits the body itself (empty), another form of it, or none."""
    if variant is None:
        return Finding(
            "bad",
            "webhook-signature fits none of your signing secrets. Either the request was changed on its way, or "
            "it was signed with a secret that has expired, or it is not from here.",
        )
    if variant:
        return Finding(
            "warn",
            f"webhook-signature fits {variant}. Your receiver must check the bytes that it received, before a "
            "framework parses or prints them again.",
        )
    return Finding("good", "webhook-signature fits one of your signing secrets.")


def _check_body(body: str, api_keys: Sequence[str]) -> Iterator[Finding]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        yield Finding("bad", "The body is not JSON, so the signature within it cannot be checked.")
        return
    signature = fields.get("signature") if isinstance(fields, dict) else None
    if not isinstance(signature, str) or not signature:
        yield Finding("bad", "The body has no signature.")
        return
    stamp, sha1 = fields.get("timestamp"), str(fields.get("sha1"))
    expected = [body_signature(key, timestamp=stamp, sha1=sha1) for key in api_keys]
    if any([constant_time_equal(each.encode(), signature.encode()) for each in expected]):
        yield Finding("good", "The signature in the body fits one of your API keys that sign.")
    else:
        yield Finding("bad", "The signature in the body fits none of your API keys that sign.")


def _fits(identity: str, stamp: int, body: str, offered: Sequence[str], secrets: Sequence[str]) -> bool:
    made = [v1_signature(identity, timestamp=stamp, body=body.encode(), secret=secret) for secret in secrets]
    return any([constant_time_equal(each.encode(), one.encode()) for each in made for one in offered])


def _variants(body: str) -> Iterator[tuple[str, str]]:
    """Yield what a body may have been before it was pasted or printed, each with how it differs."""
    yield "", body
    yield "", body.rstrip("\n")
    yield "the body with CRLF as ends of lines", body.replace("\n", "\r\n")
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        return
    yield "the body printed without blanks", json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    yield "the body printed as ASCII without blanks", json.dumps(value, separators=(",", ":"))
    yield "the body printed with other blanks", json.dumps(value, ensure_ascii=False)
    yield "the body printed as ASCII with other blanks", json.dumps(value)
