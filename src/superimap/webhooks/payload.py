"""Webhook payloads: content encoded once, when a delivery is recorded, and a body made for each attempt.

The body differs from the content by `timestamp`, `signature` and `recorded_at` alone, so an attempt splices fields
into bytes instead of encoding a mail again.

To add a field to `new_mail`: add it to `new_mail` here, to docs/webhooks.md and to tests/unit/test_payload.py. A
field that the parsed mail has is read from `PayloadMail`; any other becomes a parameter that the idler passes.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import Any, Protocol

from superimap.domain.events import EVENTS, EventName
from superimap.domain.folders import MailFolder
from superimap.domain.mail_stages import MailOrigin
from superimap.webhooks.signing import body_signature

_BASE64_CHUNK_BYTES = 48 * 1024  # a multiple of three, so that only the last chunk is padded
_SHA1 = slice(9, 49)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_CONTENT_START = re.compile(rb'\{"sha1":"[0-9a-f]{40}"')


class PayloadMail(Protocol):
    """The facts of a parsed mail that the payload contains; `mail.message.ParsedMail` has them."""

    @property
    def sha1(self) -> str:
        """SHA-1 of the raw bytes, as 40 hex digits."""
        ...


def new_mail(
    raw: bytes,
    mail: PayloadMail,
    *,
    text: Sequence[str],
    is_exact: bool,
    envelope: Mapping[str, Any] | None,
    user_tag: str,
    imap_provider_code: str,
    received_at: datetime | None,
    origin: MailOrigin,
    folder: MailFolder | None = None,
) -> bytes:
    """Content of a `new_mail` webhook.

    `mail` is parsed from `raw`. `text` is `raw` as UTF-8, in pieces: each piece is a step of its own, so that
    encoding a large mail in a thread does not block the other threads. Where the text differs from the bytes
    (`is_exact` is False), `rfc822_base64` has the exact bytes. `received_at` is the mail's INTERNALDATE; None if
    the server does not know it. `folder` is the mail's, if the user has a list of folders to watch.
    """
    fields: dict[str, Any] = {
        "sha1": mail.sha1,
        "user_tag": user_tag,
        "imap_provider_code": imap_provider_code,
        "received_at": received_at and _utc_text(received_at),
        "origin": origin,
        "envelope": envelope,
    }
    if folder is not None:
        fields |= {"mailbox": folder.name, "special_use": folder.special_use}
    parts = [b',"rfc822":"', *map(_escaped, text), b'"']
    if not is_exact:
        parts += [b',"rfc822_base64":"', *_base64(raw), b'"']
    return b"".join((_content(fields)[:-1], *parts, b"}"))


def _escaped(text: str) -> bytes:
    """`text` as it appears between the quotation marks of a JSON string."""
    return encode_basestring(text).encode("utf-8", "replace")[1:-1]


def _base64(raw: bytes) -> Iterator[bytes]:
    for start in range(0, len(raw), _BASE64_CHUNK_BYTES):
        yield base64.b64encode(raw[start : start + _BASE64_CHUNK_BYTES])


def user_connected(*, user_tag: str, imap_provider_code: str, email: str | None) -> bytes:
    """Content of a `user_connected` webhook; its `sha1` is that of the tag."""
    return _content(
        {
            "sha1": _sha1(user_tag),
            "user_tag": user_tag,
            "imap_provider_code": imap_provider_code,
            "email": email,
        }
    )


def user_disconnected(*, user_tag: str, imap_provider_code: str) -> bytes:
    """Content of a `user_disconnected` webhook; its `sha1` is that of the tag."""
    return _content({"sha1": _sha1(user_tag), "user_tag": user_tag, "imap_provider_code": imap_provider_code})


def user_event(
    name: EventName,
    *,
    user_tag: str,
    imap_provider_code: str,
    happened_at: datetime,
    code: str | None = None,
    reason: str | None = None,
    connect_url: str | None = None,
) -> bytes:
    """Content of an `events` webhook about a user, with the fields that the event's definition lists.

    Only `connect_url` is secret, so the content is made for each attempt and stored nowhere.
    """
    values = {"reason_code": code, "reason": reason, "connect_url": connect_url}
    return _event(name, user_tag, imap_provider_code, happened_at, values)


def mail_oversized(
    *,
    user_tag: str,
    imap_provider_code: str,
    happened_at: datetime,
    uid_validity: int,
    uid: int,
    internal_date: datetime | None,
    size: int,
    limit: int,
    envelope: Mapping[str, Any] | None,
) -> bytes:
    """Content of an `events` webhook about a mail that is too big; `size` and `limit` are bytes."""
    values = {
        "uid_validity": uid_validity,
        "uid": uid,
        "internal_date": internal_date and _utc_text(internal_date),
        "size": size,
        "limit": limit,
        "envelope": envelope,
    }
    return _event(EventName.MAIL_OVERSIZED, user_tag, imap_provider_code, happened_at, values)


def mail_unreadable(
    *,
    user_tag: str,
    imap_provider_code: str,
    happened_at: datetime,
    uid_validity: int,
    uid: int,
    internal_date: datetime | None,
    message: int | None,
    reason: str | None,
) -> bytes:
    """Content of an `events` webhook about a mail that could not be read; `message` is the id of its message."""
    values = {
        "message": message,
        "uid_validity": uid_validity,
        "uid": uid,
        "internal_date": internal_date and _utc_text(internal_date),
        "reason": reason,
    }
    return _event(EventName.MAIL_UNREADABLE, user_tag, imap_provider_code, happened_at, values)


def mail_change(
    name: EventName,
    *,
    user_tag: str,
    imap_provider_code: str,
    happened_at: datetime,
    values: Mapping[str, object],
) -> bytes:
    """Content of an `events` webhook about a change of a mail; `values` are the event's own fields."""
    return _event(name, user_tag, imap_provider_code, happened_at, values)


def _event(
    name: EventName, user_tag: str, code: str, happened_at: datetime, values: Mapping[str, object]
) -> bytes:
    """The fields of every event, then those of this event's definition, from `values`."""
    common = {
        "sha1": _sha1(user_tag),
        "event": name,
        "user_tag": user_tag,
        "imap_provider_code": code,
        "happened_at": _utc_text(happened_at),
    }
    return _content(common | {field: values[field] for field in EVENTS[name].fields})


def _utc_text(when: datetime) -> str:
    """ISO 8601 in UTC with a Z, as the API writes times."""
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def body(
    content: bytes, *, timestamp: int, api_keys: Sequence[str], recorded_at: datetime | None = None
) -> bytes:
    """The bytes to POST: `content` with `timestamp` (Unix seconds) and `signature` in front.

    `recorded_at` follows, if it is given: it is known once the content is recorded.
    The first key makes `signature`. While a key is being rotated there are several, and `signatures` lists the
    signature by each key, so that a receiver may hold any of them.
    """
    made = [body_signature(key, timestamp=timestamp, sha1=content[_SHA1].decode()) for key in api_keys]
    head: dict[str, Any] = {"timestamp": timestamp, "signature": made[0]}
    if len(made) > 1:
        head["signatures"] = made
    if recorded_at is not None:
        head["recorded_at"] = _utc_text(recorded_at)
    return json.dumps(head, separators=(",", ":")).encode()[:-1] + b"," + content[1:]


def _content(fields: Mapping[str, Any]) -> bytes:
    """`fields` as JSON. Raises ValueError unless the first field is `sha1` with 40 hex digits."""
    encoded = _encode(fields).encode("utf-8", "replace")
    if _CONTENT_START.match(encoded) is None:
        raise ValueError("content begins with its sha1, as 40 hex digits")
    return encoded


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
