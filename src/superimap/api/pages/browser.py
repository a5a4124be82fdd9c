"""Is it the same browser that comes back, and from which address? A random cookie, and a token bound to it."""

import hashlib
import hmac
import ipaddress
import re
import secrets
import time

from fastapi import Request, Response

from superimap.api.middleware import is_trusted
from superimap.core.crypto import constant_time_equal
from superimap.core.setting_types import Network

COOKIE_LIFETIME_SECONDS = 3600
"""Seconds: as long as a consent, and as long as a form may stay open."""

_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")


def _name(*, is_https: bool) -> str:
    """`__Host-` has browsers refuse a cookie of that name that a neighbouring host has set."""
    return "__Host-superimap-browser" if is_https else "superimap-browser"


def browser_of(request: Request, *, is_https: bool) -> str | None:
    """What this browser was given, or None."""
    value = request.cookies.get(_name(is_https=is_https), "")
    return value if _VALUE.fullmatch(value) else None


def browser_or_new(request: Request, *, is_https: bool) -> str:
    """What this browser is known by: as before, so that two pages may be open in it, or drawn now."""
    return browser_of(request, is_https=is_https) or secrets.token_urlsafe(32)


def set_cookie(response: Response, browser: str, *, is_https: bool) -> None:
    """Set the cookie: no script sees it; it comes along when a provider sends the person back, and in no form
    that another site posts."""
    response.set_cookie(
        _name(is_https=is_https),
        browser,
        max_age=COOKIE_LIFETIME_SECONDS,
        secure=is_https,
        httponly=True,
        samesite="lax",
    )


def form_token(key: bytes, browser: str, sig: str) -> str:
    """What a form carries to prove that we showed it, to this browser and for this link, in the last hour."""
    now = int(time.time())
    return f"{now}.{_mac(key, browser, sig, now)}"


def is_form_token(given: str, keys: tuple[bytes, ...], browser: str | None, sig: str) -> bool:
    """Whether `token` made this for the same browser and link, not too long ago."""
    written, _, mac = given.partition(".")
    if browser is None or not written.isascii() or not written.isdecimal() or len(written) > 12:
        return False
    at = int(written)
    matches = [constant_time_equal(_mac(key, browser, sig, at).encode(), mac.encode()) for key in keys]
    return any(matches) and 0 <= time.time() - at <= COOKIE_LIFETIME_SECONDS


def _mac(key: bytes, browser: str, sig: str, at: int) -> str:
    # The keys sign links too, whose text begins with their purpose: none is called "form".
    return hmac.new(key, "\0".join(("form", browser, sig, str(at))).encode(), hashlib.sha256).hexdigest()


def client_address(request: Request, proxies: tuple[Network, ...]) -> str:
    """The client's address as it is counted: an IPv6 one by its network of 64 bits, which one person has.

    Behind proxies that are believed it is the last address in X-Forwarded-For that is none of theirs. What the
    client wrote there itself stands before: in the same line, or (HAProxy) in one of its own. Some add a port.
    """
    found = request.client.host if request.client else ""
    if is_trusted(request.scope, proxies):
        lines = ",".join(request.headers.getlist("x-forwarded-for"))
        hops = [_without_port(hop.strip()) for hop in lines.split(",")]
        others = [hop for hop in reversed(hops) if hop and not _is_in(hop, proxies)]
        found = others[0] if others else found
    try:
        address = ipaddress.ip_address(found)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _without_port(hop: str) -> str:
    """`192.0.2.1:4711` and `[2001:db8::1]:4711` without port and brackets; all else as it is."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _is_in(hop: str, networks: tuple[Network, ...]) -> bool:
    try:
        return any(ipaddress.ip_address(hop) in network for network in networks)
    except ValueError:
        return False
