"""Signed connect and disconnect links: made for a user, and valid for half an hour."""

import hashlib
import hmac
from enum import StrEnum

from superimap.core import crypto

LIFETIME_SECONDS = 30 * 60
# Clocks of two of our machines may differ; a link from further in the future counts as forged.
CLOCK_SKEW_SECONDS = 5 * 60
_INFO = b"superimap connect and disconnect links v1"


class Purpose(StrEnum):
    """Purpose of a link; a link for one purpose does not open the page of the other."""

    CONNECT = "connect"
    DISCONNECT = "disconnect"


class LinkValidity(StrEnum):
    """Validity of a link. FORGED is checked before EXPIRED: only holders of a genuine link learn its age."""

    VALID = "valid"
    EXPIRED = "expired"
    FORGED = "forged"


def derive_keys(encryption_key: str) -> tuple[bytes, ...]:
    """Derive the link keys from ENCRYPTION_KEY, which the settings have checked: the first signs, all verify."""
    return crypto.derive_keys(encryption_key, info=_INFO)


def sign(purpose: Purpose, user_id: int, ts: int, key: bytes) -> str:
    """Return the signature of a link: hex HMAC-SHA256 over purpose, user id and Unix time."""
    # Neither a purpose nor a number contains a NUL, so no two links sign the same bytes.
    text = "\0".join((purpose, str(user_id), str(ts)))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def verify(
    purpose: Purpose, user_id: int, ts: int, sig: str, keys: tuple[bytes, ...], *, now: float
) -> LinkValidity:
    """Check a link. Every key is compared in constant time, even after one has matched."""
    given = sig.encode()
    matches = [hmac.compare_digest(sign(purpose, user_id, ts, key).encode(), given) for key in keys]
    if not any(matches) or ts - now > CLOCK_SKEW_SECONDS:
        return LinkValidity.FORGED
    return LinkValidity.VALID if now - ts <= LIFETIME_SECONDS else LinkValidity.EXPIRED


def url(base: str, purpose: Purpose, user_id: int, key: bytes, *, now: float) -> str:
    """Build a link, valid for `LIFETIME_SECONDS`; `success` and `failure` may be added to its query."""
    ts = int(now)
    return f"{base}/users/{purpose}/new?user_id={user_id}&ts={ts}&sig={sign(purpose, user_id, ts, key)}"
