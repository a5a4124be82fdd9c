"""What stands in a webhook: content made once, when it is owed, and a body made for each attempt.

The body differs from the content by `timestamp` and `signature` alone, so that an attempt splices
two fields into bytes instead of encoding a mail again.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import Any

from superimap.domain.events import EventName
from superimap.webhooks.signing import body_signature

_PIECE = 48 * 1024  # bytes; of three each, so that only the last is padded
_SHA1 = slice(9, 49)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_BEGINNING = re.compile(rb'\{"sha1":"[0-9a-f]{40}"')


def new_mail(
    raw: bytes,
    *,
    text: Sequence[str],
    is_exact: bool,
    sha1: str,
    envelope: Mapping[str, Any] | None,
    user_tag: str,
    imap_provider_code: str,
) -> bytes:
    """Content of a `new_mail` webhook.

    `text` is `raw` as UTF-8, in pieces: each is a step of its own, so that encoding a big mail in a thread
    does not hold up the others. Where it changed a byte (`is_exact` is False) the exact bytes stand beside it
    as `rfc822_base64`. `sha1` is the hex digest of `raw`.
    """
    fields: dict[str, Any] = {
        "sha1": sha1,
        "user_tag": user_tag,
        "imap_provider_code": imap_provider_code,
        "envelope": envelope,
    }
    mail = [b',"rfc822":"', *map(_escaped, text), b'"']
    if not is_exact:
        mail += [b',"rfc822_base64":"', *_base64(raw), b'"']
    return b"".join((_content(fields)[:-1], *mail, b"}"))


def _escaped(text: str) -> bytes:
    """As it stands between the quotation marks of a JSON string."""
    return encode_basestring(text).encode("utf-8", "replace")[1:-1]


def _base64(raw: bytes) -> Iterator[bytes]:
    for start in range(0, len(raw), _PIECE):
        yield base64.b64encode(raw[start : start + _PIECE])


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
    """Content of an `events` webhook about a user; `code` and `reason` say why, for programs and for people.

    Nothing of it is secret but `connect_url`, so that it is made for each attempt and stored nowhere.
    """
    fields: dict[str, Any] = _event(name, user_tag, imap_provider_code, happened_at)
    if name in {EventName.USER_REAUTH_REQUIRED, EventName.USER_ARCHIVED}:
        fields["reason_code"] = code
    if name in {EventName.USER_REAUTH_REQUIRED, EventName.USER_ARCHIVED, EventName.USER_STALLED}:
        fields["reason"] = reason
    if name is EventName.USER_REAUTH_REQUIRED:
        fields["connect_url"] = connect_url
    return _content(fields)


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
    """Content of an `events` webhook about a mail that is not sent; `size` and `limit` are bytes."""
    return _content(
        {
            **_event(EventName.MAIL_OVERSIZED, user_tag, imap_provider_code, happened_at),
            "uid_validity": uid_validity,
            "uid": uid,
            "internal_date": internal_date and _moment(internal_date),
            "size": size,
            "limit": limit,
            "envelope": envelope,
        }
    )


def _event(name: EventName, user_tag: str, code: str, happened_at: datetime) -> dict[str, Any]:
    return {
        "sha1": _sha1(user_tag),
        "event": name,
        "user_tag": user_tag,
        "imap_provider_code": code,
        "happened_at": _moment(happened_at),
    }


def _moment(when: datetime) -> str:
    """As the API writes it."""
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def body(content: bytes, *, timestamp: int, api_keys: Sequence[str]) -> bytes:
    """The bytes to POST: `content` with `timestamp` (Unix seconds) and `signature` in front.

    The first key makes `signature`. While a key is being rotated there are more, and `signatures`
    lists what each of them makes, so that a receiver may hold either.
    """
    made = [body_signature(key, timestamp=timestamp, sha1=content[_SHA1].decode()) for key in api_keys]
    head: dict[str, Any] = {"timestamp": timestamp, "signature": made[0]}
    if len(made) > 1:
        head["signatures"] = made
    return json.dumps(head, separators=(",", ":")).encode()[:-1] + b"," + content[1:]


def _content(fields: dict[str, Any]) -> bytes:
    encoded = _encode(fields).encode("utf-8", "replace")
    if _BEGINNING.match(encoded) is None:
        raise ValueError("content begins with its sha1, as 40 hex digits")
    return encoded


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
