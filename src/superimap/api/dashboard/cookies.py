"""Cookies of sessions: random values, of which the database has the digests."""

import hashlib
import re
import secrets

from starlette.requests import Request
from starlette.responses import Response

from superimap.domain.operators import SESSION_TIME

_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")


def new_secret() -> str:
    """Return a random value of 256 bits, for a cookie or a link."""
    return secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes:
    """Return the digest under which a value is stored."""
    return hashlib.sha256(secret.encode()).digest()


def session_digest(request: Request, door: str) -> bytes | None:
    """Return the digest of this browser's session cookie; None without one."""
    value = request.cookies.get(_name(request, door), "")
    return digest_of(value) if _VALUE.fullmatch(value) else None


def set_cookie(request: Request, response: Response, door: str, secret: str) -> None:
    """Set the session cookie, which scripts and other sites cannot use.

    SameSite=Strict: browsers send it with no request that another site causes, not even with a followed link.
    """
    response.set_cookie(
        _name(request, door),
        secret,
        max_age=int(SESSION_TIME.total_seconds()),
        path="/",
        secure=_is_https(request),
        httponly=True,
        samesite="strict",
    )


def delete_cookie(request: Request, response: Response, door: str) -> None:
    """Make the browser forget its session cookie."""
    response.delete_cookie(
        _name(request, door), path="/", secure=_is_https(request), httponly=True, samesite="strict"
    )


def _is_https(request: Request) -> bool:
    return bool(request.scope["scheme"] == "https")


def _name(request: Request, door: str) -> str:
    """Return the cookie's name. Browsers refuse a `__Host-` cookie that a neighbouring host has set."""
    return f"{'__Host-' if _is_https(request) else ''}superimap-{door}"
