"""Signed tokens in tracer mails, which SuperIMAP sends to a user in order to see them arrive.

A token is base64url of the time (5 bytes, Unix seconds), a nonce (9 bytes) and the first half of an HMAC-SHA256
over user, time and nonce: 40 characters, so that a subject with it stays on one line. The table `tracers` keeps
the digest of each token that was sent, and which of them have not arrived yet.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

from superimap.core import crypto

HEADER = b"X-SuperIMAP-Tracer"
SUBJECT_PREFIX = b"TRACER: "
"""Precedes the token in the subject, in case a mail server on the way removes the header."""
TOKEN_LIFETIME_SECONDS = 5 * 86_400
"""Mail servers retry for four to five days (RFC 5321 section 4.5.4.1)."""
CLOCK_SKEW_SECONDS = 5 * 60
"""The clocks of two machines of an installation may differ by this much."""
NONCE_BYTES = 9

_INFO = b"superimap tracer mails v1"
_TIME_BYTES = 5
_MAC_BYTES = 16
_TOKEN = re.compile(rb"[A-Za-z0-9_-]{40}(?![A-Za-z0-9_-])")


def derive_keys(encryption_key: str) -> tuple[bytes, ...]:
    """Derive the tracer keys from ENCRYPTION_KEY (validated by the settings): the first signs, all verify."""
    return crypto.derive_keys(encryption_key, info=_INFO)


def make_token(user_id: int, key: bytes, *, now: float, nonce: bytes) -> str:
    """Make a token for a tracer to this user. `nonce` is NONCE_BYTES random bytes."""
    head = int(now).to_bytes(_TIME_BYTES, "big") + nonce
    return base64.urlsafe_b64encode(head + _mac(user_id, head, key)).decode()


def token_in(headers: Mapping[str, Sequence[bytes]]) -> str | None:
    """Return what looks like a token in the header or the subject. `headers` are unfolded, by lower-case name."""
    for value in headers.get(HEADER.lower().decode(), ()):
        if found := _TOKEN.match(value):
            return found[0].decode()
    for value in headers.get("subject", ()):
        start = value.find(SUBJECT_PREFIX)
        if start >= 0 and (found := _TOKEN.match(value, start + len(SUBJECT_PREFIX))):
            return found[0].decode()
    return None


def is_valid(token: str, user_id: int, keys: Sequence[bytes], *, now: float) -> bool:
    """Whether this token was signed for this user, at most TOKEN_LIFETIME_SECONDS ago.

    Tries every key, in constant time. Raises ValueError for text that `token_in` does not return.
    """
    raw = base64.urlsafe_b64decode(token)
    head, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    matches = [crypto.constant_time_equal(_mac(user_id, head, key), mac) for key in keys]
    age = now - int.from_bytes(head[:_TIME_BYTES], "big")
    return any(matches) and -CLOCK_SKEW_SECONDS <= age <= TOKEN_LIFETIME_SECONDS


def digest(token: str) -> bytes:
    """Return the value of `tracers.token_digest`, from which no valid tracer can be made."""
    return hashlib.sha256(token.encode()).digest()


def _mac(user_id: int, head: bytes, key: bytes) -> bytes:
    # Both parts have a fixed length, so no two tokens sign the same bytes.
    return hmac.digest(key, user_id.to_bytes(8, "big") + head, "sha256")[:_MAC_BYTES]
