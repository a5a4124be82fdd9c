"""What opens behind a connect or disconnect link? Not yet a page: the link is checked, and the API named."""

import time
from typing import NoReturn

from fastapi import APIRouter, Request

from superimap.api.deps import Opened
from superimap.api.errors import Problem
from superimap.oauth import links
from superimap.oauth.links import Purpose, Verdict

router = APIRouter(prefix="/users", include_in_schema=False)


@router.get("/connect/new")
async def connect(request: Request, opened: Opened) -> None:
    """The way to connect."""
    _open(request, opened, Purpose.CONNECT)


@router.get("/disconnect/new")
async def disconnect(request: Request, opened: Opened) -> None:
    """The way to disconnect."""
    _open(request, opened, Purpose.DISCONNECT)


def _open(request: Request, opened: Opened, purpose: Purpose) -> NoReturn:
    given = request.query_params
    user_id, ts = _number(given.get("user_id", "")), _number(given.get("ts", ""))
    match links.verify(purpose, user_id, ts, given.get("sig", ""), opened.link_keys, now=time.time()):
        case Verdict.FORGED:
            raise Problem(404, "User not found.")
        case Verdict.EXPIRED:
            raise Problem(
                410, "This link has expired; ask the application for a new one.", kind="link-expired"
            )
        case Verdict.VALID:
            raise Problem(
                501,
                f"To {purpose} by link is not available in this version. The application can send "
                "login_username and login_password, or email and oauth2_refresh_token, by the API instead.",
            )


def _number(text: str) -> int:
    """A whole number of at most 18 digits; 0, which no link is signed for, if it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else 0
