"""How does one ask a provider's token endpoint, and what does a refusal mean? (RFC 6749 section 5.2)"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx

from superimap.core.errors import SuperImapError

MOST_BYTES = 64 * 1024
DEADLINE = 15.0
LONGEST_PAUSE = 3600.0
THROTTLED = 30.0
"""Seconds that a provider means that says "too many requests" and no figure."""

TENANT = "{tenant}"
"""In a token URL's path: the provider's customer, as a connection names it."""

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,60}")


class Refusal(StrEnum):
    """Why a provider will not give a token, by what mends it."""

    REVOKED = "revoked"  # the person took it back, changed the password, or was away too long: connect again
    CONSENT = "consent"  # the person, or their administrator, must agree to something (more): connect again
    CLIENT = "client"  # client id or secret is wrong: the partner's to mend


_REFUSALS = {
    "invalid_grant": Refusal.REVOKED,
    "access_denied": Refusal.REVOKED,
    # OpenID Connect Core 3.1.2.6; Microsoft answers them to refresh tokens too.
    "interaction_required": Refusal.CONSENT,
    "consent_required": Refusal.CONSENT,
    "login_required": Refusal.CONSENT,
    "invalid_scope": Refusal.CONSENT,
    "invalid_client": Refusal.CLIENT,
    "unauthorized_client": Refusal.CLIENT,
    "unsupported_grant_type": Refusal.CLIENT,
}
# What Microsoft adds to invalid_grant (learn.microsoft.com, "Handling errors: token endpoint").
_CONSENT = {"consent_required", "basic_action", "additional_action", "user_password_expired"}
_SAID = {
    Refusal.REVOKED: "access was revoked or has expired; the person should connect again",
    Refusal.CONSENT: "the person, or their administrator, must consent anew; they should connect again",
    Refusal.CLIENT: "the connection's client id or secret is wrong, or the client may not do this",
}


class TokenRefused(SuperImapError):
    """The provider will not give a token, and another try will not change that.

    `code` is the provider's (RFC 6749 section 5.2), `refusal` says what mends it.
    """

    def __init__(self, code: str, refusal: Refusal = Refusal.REVOKED) -> None:
        super().__init__(code)
        self.code = code
        self.refusal = refusal

    @property
    def may_pass(self) -> bool:
        """Whether a token that still lives may be used on: the person has taken nothing back."""
        return self.refusal is Refusal.CLIENT

    def __str__(self) -> str:
        return f"the provider refused an access token ({self.code}): {_SAID[self.refusal]}"


class TokenUnavailable(SuperImapError):
    """The provider could not be asked, or did not answer as it should; another try may help.

    `retry_after` is for how many seconds it asked to be left alone, if it did.
    """

    def __init__(self, text: str, *, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Client:
    """A partner's application as the provider knows it, and where tokens are given."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a provider gave. `expires_in` is in seconds; a `refresh_token` replaces the one before."""

    access_token: str = field(repr=False)
    expires_in: int
    refresh_token: str | None = field(repr=False)
    id_token: str | None = field(default=None, repr=False)
    scope: str | None = None


async def ask(http: httpx.AsyncClient, client: Client, form: Mapping[str, str]) -> Grant:
    """POST `form` with the client's credentials; raises TokenRefused or TokenUnavailable.

    One deadline of 15 s over all of it, no redirects, at most 64 KiB read; nothing of the answer but its
    error code gets into an error.
    """
    sent = {**form, "client_id": client.client_id, "client_secret": client.client_secret}
    try:
        async with asyncio.timeout(DEADLINE):
            status, headers, fields = await post(http, client.token_url, sent)
    except TimeoutError:
        raise TokenUnavailable("the provider's token endpoint did not answer in time") from None
    except httpx.HTTPError as error:
        raise TokenUnavailable(f"the provider's token endpoint failed: {kind_of(error)}") from None
    if status == 200 and isinstance(fields.get("access_token"), str) and fields["access_token"]:
        return Grant(
            access_token=fields["access_token"],
            expires_in=_life(fields.get("expires_in")),
            refresh_token=_text(fields.get("refresh_token")),
            id_token=_text(fields.get("id_token")),
            scope=_text(fields.get("scope")),
        )
    raise meaning(
        status, fields.get("error"), detail=fields.get("suberror"), retry_after=headers.get("Retry-After")
    )


def kind_of(error: httpx.HTTPError) -> str:
    """What went wrong, by the name of its class: the transport's own, as httpx-aiohttp calls all of a refused
    connection, an unknown host and a bad certificate ConnectTimeout."""
    return type(error.__cause__ or error).__name__


def refusal_of(code: str, *, detail: object = None) -> Refusal | None:
    """What mends the refusal of this code, with Microsoft's `suberror`; None if it is no refusal."""
    if code == "invalid_grant" and detail in _CONSENT:
        return Refusal.CONSENT
    return _REFUSALS.get(code)


def token_url(template: str, tenant: str | None) -> str:
    """The address for a provider's customer, whose name stands in its path alone. Raises TokenRefused without."""
    if TENANT not in template:
        return template
    if tenant is None:
        raise TokenRefused("the connection names no tenant", Refusal.CLIENT)
    return template.replace(TENANT, tenant)


def meaning(
    status: int, error: object, *, detail: object = None, retry_after: str | None = None
) -> TokenRefused | TokenUnavailable:
    """What an answer without a token means: a refusal that lasts, or a failure that passes."""
    code = error if isinstance(error, str) and _CODE.fullmatch(error) else None
    # A server in trouble may say anything; only what it says as an answer is believed.
    refusal = refusal_of(code, detail=detail) if code else None
    if code and refusal and 400 <= status < 500 and status != 429:
        return TokenRefused(code, refusal)
    said = f"{code} (HTTP {status})" if code else f"HTTP {status}"
    pause = _pause(retry_after)
    return TokenUnavailable(
        f"the provider's token endpoint answered {said}",
        retry_after=THROTTLED if pause is None and status == 429 else pause,
    )


async def post(
    http: httpx.AsyncClient, url: str, form: Mapping[str, str]
) -> tuple[int, httpx.Headers, dict[str, Any]]:
    """Status, headers, and the JSON object of the answer, empty if it is none. Raises httpx.HTTPError."""
    headers = {"Accept": "application/json"}
    async with http.stream("POST", url, data=dict(form), headers=headers, follow_redirects=False) as answer:
        return answer.status_code, answer.headers, await read(answer)


async def read(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object in an answer of at most 64 KiB; empty if it is none, or larger."""
    body = bytearray()
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > MOST_BYTES:
            return {}
    try:
        # A charset that lies, or nesting without end, is no JSON object either.
        fields = httpx.Response(200, content=bytes(body)).json()
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _life(value: object) -> int:
    """Seconds; some providers write the number as a string, some leave it out."""
    try:
        return max(1, min(int(str(value)), 86_400))
    except ValueError:
        return 3600


def _pause(value: str | None) -> float | None:
    """Seconds of Retry-After, at most an hour; its form as a date is passed over."""
    text = (value or "").strip()
    return min(float(text), LONGEST_PAUSE) if text.isascii() and text.isdigit() else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
