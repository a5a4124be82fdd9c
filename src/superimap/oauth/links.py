"""Signed connect and disconnect links: made for a user, and valid for half an hour."""

import hashlib
import hmac
import re
from enum import StrEnum
from urllib.parse import unquote

from superimap.core import crypto

LIFETIME_SECONDS = 30 * 60
# Clocks of two of our machines may differ; a link from further in the future counts as forged.
CLOCK_SKEW_SECONDS = 5 * 60
FIELDS = ("user_id", "ts", "sig", "success", "failure")
"""Query parameters of a link. A signature covers the first two and the purpose."""
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


# "&amp;" for "&", from a link that was escaped twice.
_ESCAPED = re.compile(rf"&amp;(?=(?:{'|'.join(FIELDS)})=)")
# The signature, and what a sentence or a mail client has put behind it.
_SIG = re.compile(r"(?P<sig>(?:^|&)sig=[0-9a-f]{64})(?P<junk>[^&]*)")
_SECOND_QUERY = re.compile(r"\?+(?=\w+=)")


def repaired_query(query: str) -> str:
    """Return the query of a link without what was added on its way, where only one reading is possible.

    The original's documentation appends `"?" + query` to a link, so a `?` behind the signature counts as `&`. Mail
    clients add punctuation and blanks, or escape `&` twice. The signature is exact: nothing else becomes valid.
    """
    query = _ESCAPED.sub("&", query)

    def repaired(found: re.Match[str]) -> str:
        junk = found["junk"]
        if (more := _SECOND_QUERY.match(junk)) is not None:
            return f"{found['sig']}&{junk[more.end() :]}"
        is_punctuation = not any(char.isalnum() for char in unquote(junk))
        return found["sig"] if is_punctuation else found[0]

    return _SIG.sub(repaired, query, count=1)
