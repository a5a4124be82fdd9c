"""Who may open a connect or disconnect page? Whoever holds a link that we signed in the last half hour."""

import hashlib
import hmac
from enum import StrEnum

from superimap.core import crypto

LIFETIME = 30 * 60
# Clocks of two of our machines may differ; a link "from the future" by more is none of ours.
SKEW = 5 * 60
_INFO = b"superimap connect and disconnect links v1"


class Purpose(StrEnum):
    """What a link is for; a link for one purpose does not open the other's page."""

    CONNECT = "connect"
    DISCONNECT = "disconnect"


class Verdict(StrEnum):
    """What a link is worth. FORGED comes before EXPIRED: only holders of a true link learn its age."""

    VALID = "valid"
    EXPIRED = "expired"
    FORGED = "forged"


def derive(encryption_key: str) -> tuple[bytes, ...]:
    """The link keys of ENCRYPTION_KEY (already checked by the settings): the first signs, each verifies."""
    return crypto.derive(encryption_key, info=_INFO)


def sign(purpose: Purpose, user_id: int, ts: int, key: bytes) -> str:
    """The signature of a link: hex HMAC-SHA256 over purpose, user and time."""
    # Neither a purpose nor a number holds a NUL, so no two links sign the same bytes.
    text = "\0".join((purpose, str(user_id), str(ts)))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def verify(
    purpose: Purpose, user_id: int, ts: int, sig: str, keys: tuple[bytes, ...], *, now: float
) -> Verdict:
    """Judge a link; every key is tried, in constant time, whatever the others said."""
    given = sig.encode()
    matches = [hmac.compare_digest(sign(purpose, user_id, ts, key).encode(), given) for key in keys]
    if not any(matches) or ts - now > SKEW:
        return Verdict.FORGED
    return Verdict.VALID if now - ts <= LIFETIME else Verdict.EXPIRED


def url(base: str, purpose: Purpose, user_id: int, key: bytes, *, now: float) -> str:
    """A link that is good for `LIFETIME` seconds; `success` and `failure` may be added to its query."""
    ts = int(now)
    return f"{base}/users/{purpose}/new?user_id={user_id}&ts={ts}&sig={sign(purpose, user_id, ts, key)}"
