"""Forms of the dashboard: only our own pages may send them, and each is accepted once."""

import hashlib
import hmac
import secrets
import time

from starlette.requests import Request

from superimap.api.errors import Problem
from superimap.core.crypto import constant_time_equal
from superimap.domain.operators import SESSION_TIME
from superimap.oauth.links import CLOCK_SKEW_SECONDS

FIELD = "form"
"""Name of the hidden field with the token of a form."""

_FOREIGN = (
    "This form was not sent from a page of this dashboard. Open the page again and repeat the action. "
    "Behind a proxy, the Host header must be the one of the address bar."
)


def require_own_page(request: Request, base: str) -> None:
    """Refuse a request that another site's page may have caused. Raises Problem 403.

    Browsers say which site caused a request: in `Sec-Fetch-Site` (W3C Fetch Metadata), older ones in `Origin`.
    A request that says neither is refused.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if (site != "same-origin") if site is not None else (origin != base):
        raise Problem(403, _FOREIGN, kind="foreign-form")


def new_token(key: bytes, session: bytes) -> str:
    """Return the token of a form that is shown in this session."""
    text = f"{int(time.time())}.{secrets.token_urlsafe(16)}"
    return f"{text}.{_mac(key, session, text)}"


def token_digest(keys: tuple[bytes, ...], session: bytes, token: str) -> bytes:
    """Return the digest by which the use of this token is noted. Raises Problem 403 if it is not the session's."""
    text, _, mac = token.rpartition(".")
    written, _, _ = text.partition(".")
    is_genuine = any([constant_time_equal(_mac(key, session, text).encode(), mac.encode()) for key in keys])
    if not is_genuine or not written.isdecimal():
        raise Problem(403, _FOREIGN, kind="foreign-form")
    if not -CLOCK_SKEW_SECONDS <= time.time() - int(written) <= SESSION_TIME.total_seconds():
        raise Problem(
            403, "This form is too old. Open the page again and repeat the action.", kind="old-form"
        )
    return hashlib.sha256(text.encode()).digest()


def _mac(key: bytes, session: bytes, text: str) -> str:
    return hmac.new(key, b"form\0" + session + text.encode(), hashlib.sha256).hexdigest()
