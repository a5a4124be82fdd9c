"""A sign-in with an OpenID provider that is under way: a sealed cookie of the browser, which works once."""

import base64
import hashlib
import json
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response

from superimap.core.crypto import Place, Vault, VaultError, constant_time_equal
from superimap.db.operators import forms

STARTED_SECONDS = 600
"""Time for the person to sign in at the provider."""
MAX_PATH_CHARACTERS = 1000
_PLACE = Place("cookies", "single_sign_on", 0, "")


class SignInPurpose(StrEnum):
    """What a person goes to the provider for."""

    SIGN_IN = "sign-in"
    CONFIRM = "confirm"  # prove the identity once more, in a session
    LINK = "link"  # sign in with the provider from now on


@dataclass(frozen=True, slots=True)
class StartedSignIn:
    """What the browser keeps, and cannot read: secrets, the page to return to, the session in hexadecimal."""

    purpose: SignInPurpose
    state: str
    verifier: str
    next: str
    session: str
    started_at: int


def keep(request: Request, response: Response, vault: Vault, started: StartedSignIn) -> None:
    """Store a started sign-in in a cookie. SameSite=Lax: the browser returns from another site."""
    sealed = vault.seal_text(json.dumps(asdict(started)), _PLACE)
    response.set_cookie(
        _name(request),
        base64.urlsafe_b64encode(sealed).decode(),
        max_age=STARTED_SECONDS,
        path="/",
        secure=_is_https(request),
        httponly=True,
        samesite="lax",
    )


def read(request: Request, vault: Vault, state: str) -> StartedSignIn | None:
    """Return the sign-in that this browser has started with this state, in the last minutes; None for another."""
    try:
        sealed = base64.urlsafe_b64decode(request.cookies.get(_name(request), ""))
        fields: dict[str, Any] = json.loads(vault.open_text(sealed, _PLACE))
        started = StartedSignIn(**{**fields, "purpose": SignInPurpose(fields["purpose"])})
    except (VaultError, ValueError, TypeError, KeyError):
        return None
    is_own = constant_time_equal(started.state.encode(), state.encode("utf-8", "replace"))
    return started if is_own and time.time() - started.started_at <= STARTED_SECONDS else None


async def use(db: AsyncSession, started: StartedSignIn) -> bool:
    """Use up a started sign-in; False if it was used before."""
    used = hashlib.sha256(b"single sign-on\0" + started.state.encode()).digest()
    return await forms.use(db, used, timedelta(seconds=STARTED_SECONDS))


def forget(request: Request, response: Response) -> None:
    """Delete the cookie."""
    response.delete_cookie(_name(request), path="/", secure=_is_https(request), httponly=True, samesite="lax")


def _is_https(request: Request) -> bool:
    return bool(request.scope["scheme"] == "https")


def _name(request: Request) -> str:
    return f"{'__Host-' if _is_https(request) else ''}superimap-single-sign-on"
