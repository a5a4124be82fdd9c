"""Identity of a browser: its cookie, the form token bound to it, and the client's address."""

import hashlib
import hmac
import re
import secrets
import time

from fastapi import Request, Response

from superimap.api.pages.try_limits import counted_address
from superimap.api.source_address import source_address
from superimap.core.crypto import constant_time_equal
from superimap.core.setting_types import Network
from superimap.oauth.links import CLOCK_SKEW_SECONDS

COOKIE_LIFETIME_SECONDS = 3600
"""As long as a consent may take, and as long as a form may stay open."""

_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")


def _name(*, is_https: bool) -> str:
    """Return the cookie's name. Browsers refuse a `__Host-` cookie that a neighbouring host has set."""
    return "__Host-superimap-browser" if is_https else "superimap-browser"


def browser_of(request: Request, *, is_https: bool) -> str | None:
    """Return the value of this browser's cookie; None without a valid one."""
    value = request.cookies.get(_name(is_https=is_https), "")
    return value if _VALUE.fullmatch(value) else None


def browser_or_new(request: Request, *, is_https: bool) -> str:
    """Return the cookie's value, or a new random one. Keeping the old one lets two pages be open at once."""
    return browser_of(request, is_https=is_https) or secrets.token_urlsafe(32)


def set_cookie(response: Response, browser: str, *, is_https: bool, prefix: str) -> None:
    """Set the cookie, hidden from scripts.

    Over HTTPS it has the path `/`, wherever the API is published: a `__Host-` cookie must not have another.

    SameSite=Lax: browsers send it when a provider redirects the person back, but not with a form that another
    site posts.
    """
    response.set_cookie(
        _name(is_https=is_https),
        browser,
        max_age=COOKIE_LIFETIME_SECONDS,
        path="/" if is_https else prefix or "/",
        secure=is_https,
        httponly=True,
        samesite="lax",
    )


def form_token(key: bytes, browser: str, sig: str) -> str:
    """Return a token that proves that we showed the form: to this browser, for this link, and when.

    The time is this machine's; the machine that checks it may have another (`CLOCK_SKEW_SECONDS`).
    """
    now = int(time.time())
    return f"{now}.{_mac(key, browser, sig, now)}"


def is_form_token(given: str, keys: tuple[bytes, ...], browser: str | None, sig: str) -> bool:
    """Whether `form_token` returned this value for the same browser and link within the last hour."""
    written, _, mac = given.partition(".")
    if browser is None or not written.isascii() or not written.isdecimal() or len(written) > 12:
        return False
    at = int(written)
    matches = [constant_time_equal(_mac(key, browser, sig, at).encode(), mac.encode()) for key in keys]
    return any(matches) and -CLOCK_SKEW_SECONDS <= time.time() - at <= COOKIE_LIFETIME_SECONDS


def _mac(key: bytes, browser: str, sig: str, at: int) -> str:
    # The keys also sign links, whose text begins with their purpose; "form" is not a purpose.
    return hmac.new(key, "\0".join(("form", browser, sig, str(at))).encode(), hashlib.sha256).hexdigest()


def client_address(request: Request, proxies: tuple[Network, ...]) -> str:
    """Return the client's address for rate limits: IPv6 as a /64 network, as one person has a whole one."""
    address = source_address(request, proxies)
    return (address and counted_address(str(address))) or "unknown"
