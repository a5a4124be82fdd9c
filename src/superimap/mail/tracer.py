"""Which mails did we send to a user ourselves, to see them arrive? Those with a token that we signed for it.

A token is base64url of time (5 bytes, seconds), nonce (9 bytes) and the first half of an HMAC-SHA256 over user,
time and nonce: 40 characters, so that a subject with it is one line. Whether a token was sent, and was not seen
yet, is for the table `tracers` to say, which keeps its digest.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

from superimap.core import crypto

HEADER = b"X-SuperIMAP-Tracer"
SUBJECT_PREFIX = b"TRACER: "
"""Before the token in a subject, where the header got lost on the way."""
TOKEN_LIFETIME_SECONDS = 5 * 86_400
"""Seconds. Mail servers try for four to five days (RFC 5321 section 4.5.4.1)."""
CLOCK_SKEW_SECONDS = 5 * 60
"""Seconds by which the clocks of two of our machines may differ."""
NONCE_BYTES = 9

_INFO = b"superimap tracer mails v1"
_TIME_BYTES = 5
_MAC_BYTES = 16
_TOKEN = re.compile(rb"[A-Za-z0-9_-]{40}(?![A-Za-z0-9_-])")


def derive_keys(encryption_key: str) -> tuple[bytes, ...]:
    """The tracer keys of ENCRYPTION_KEY (already checked by the settings): the first signs, each verifies."""
    return crypto.derive(encryption_key, info=_INFO)


def make_token(user_id: int, key: bytes, *, now: float, nonce: bytes) -> str:
    """A token for a tracer to this user; `nonce` is NONCE_BYTES random bytes."""
    head = int(now).to_bytes(_TIME_BYTES, "big") + nonce
    return base64.urlsafe_b64encode(head + _mac(user_id, head, key)).decode()


def token_in(headers: Mapping[str, Sequence[bytes]]) -> str | None:
    """What looks like a token, in the header or the subject; `headers` are unfolded, by lower-case name."""
    for value in headers.get(HEADER.lower().decode(), ()):
        if found := _TOKEN.match(value):
            return found[0].decode()
    for value in headers.get("subject", ()):
        start = value.find(SUBJECT_PREFIX)
        if start >= 0 and (found := _TOKEN.match(value, start + len(SUBJECT_PREFIX))):
            return found[0].decode()
    return None


def is_valid(token: str, user_id: int, keys: Sequence[bytes], *, now: float) -> bool:
    """Whether we signed this token for this very user, at most LIFETIME seconds ago.

    Every key is tried, in constant time. Raises ValueError for what `token_in` would not have found.
    """
    raw = base64.urlsafe_b64decode(token)
    head, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    matches = [crypto.equal(_mac(user_id, head, key), mac) for key in keys]
    return (
        any(matches)
        and -CLOCK_SKEW_SECONDS <= now - int.from_bytes(head[:_TIME_BYTES], "big") <= TOKEN_LIFETIME_SECONDS
    )


def digest(token: str) -> bytes:
    """What `tracers.token_digest` holds: who reads the table cannot make a mail that counts as a tracer."""
    return hashlib.sha256(token.encode()).digest()


def _mac(user_id: int, head: bytes, key: bytes) -> bytes:
    # Both parts have one length, so no two tokens sign the same bytes.
    return hmac.digest(key, user_id.to_bytes(8, "big") + head, "sha256")[:_MAC_BYTES]
