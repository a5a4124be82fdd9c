"""Requests to a provider's token endpoint: refresh, client credentials, and revocation."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

import httpx

from superimap.oauth.client_auth import OAuthClient, authenticated, grant_assertion
from superimap.oauth.http_client import error_name, post_form
from superimap.oauth.refusal_codes import TokenRefusal
from superimap.oauth.token_errors import TokenRefused, TokenUnavailable, token_error

DEADLINE_SECONDS = 15.0
JWT_BEARER_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TENANT = "{tenant}"
"""Placeholder in the path of a token URL for the tenant that a connection names."""


@dataclass(frozen=True, slots=True)
class TokenResponse:
    """Tokens from a provider. `expires_in` is in seconds; a `refresh_token` replaces the previous one."""

    access_token: str = field(repr=False)
    expires_in: int
    refresh_token: str | None = field(repr=False)
    id_token: str | None = field(default=None, repr=False)
    scope: str | None = None


def token_url(template: str, tenant: str | None) -> str:
    """Return the token URL for a tenant, whose name is put into the path only.

    Raises TokenRefused if the template needs a tenant and there is none.
    """
    if TENANT not in template:
        return template
    if tenant is None:
        raise TokenRefused("the connection has no tenant", TokenRefusal.CLIENT)
    return template.replace(TENANT, tenant)


async def request_token(
    http: httpx.AsyncClient, client: OAuthClient, form: Mapping[str, str]
) -> TokenResponse:
    """POST `form` with the client's credentials. Raises TokenRefused or TokenUnavailable.

    The whole exchange has one deadline of 15 s, follows no redirect, and reads at most 64 KiB. Of the answer only
    the error code gets into an error's text.
    """
    return await _request(http, client.token_url, *authenticated(client, form))


async def _request(
    http: httpx.AsyncClient, url: str, form: Mapping[str, str], more_headers: Mapping[str, str]
) -> TokenResponse:
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            status, headers, fields = await post_form(http, url, form, more_headers)
    except TimeoutError:
        raise TokenUnavailable("the provider's token endpoint did not answer in time") from None
    except httpx.HTTPError as error:
        raise TokenUnavailable(f"the provider's token endpoint failed: {error_name(error)}") from None
    if status == 200 and isinstance(fields.get("access_token"), str) and fields["access_token"]:
        return TokenResponse(
            access_token=fields["access_token"],
            expires_in=_expires_in(fields.get("expires_in")),
            refresh_token=_text(fields.get("refresh_token")),
            id_token=_text(fields.get("id_token")),
            scope=_text(fields.get("scope")),
        )
    now = _unix_time(headers.get("Date"))
    raise token_error(status, fields, retry_after=headers.get("Retry-After"), now=now)


async def refresh(http: httpx.AsyncClient, client: OAuthClient, *, refresh_token: str) -> TokenResponse:
    """Request a new access token (RFC 6749 section 6). Raises TokenRefused or TokenUnavailable.

    A refresh token in the response replaces the old one and must be stored before the access token is used.
    """
    return await request_token(http, client, {"grant_type": "refresh_token", "refresh_token": refresh_token})


async def client_credentials(http: httpx.AsyncClient, client: OAuthClient, *, scope: str) -> TokenResponse:
    """Request a token for every mailbox that the client may open (RFC 6749 section 4.4).

    Microsoft calls it app-only access: learn.microsoft.com, "Authenticate an IMAP, POP or SMTP connection
    using OAuth". Raises TokenRefused or TokenUnavailable.
    """
    return await request_token(http, client, {"grant_type": "client_credentials", "scope": scope})


async def jwt_bearer(
    http: httpx.AsyncClient, client: OAuthClient, *, account: str, scope: str
) -> TokenResponse:
    """Request a token of one account, for which the client's key signs (RFC 7523 section 2.1).

    Google calls it domain-wide delegation: developers.google.com, "Using OAuth 2.0 for Server to Server
    Applications". Raises TokenRefused or TokenUnavailable. A refusal never means that a person must connect again.
    """
    assertion = grant_assertion(client, account=account, scope=scope, now=int(time.time()))
    form = {"grant_type": JWT_BEARER_GRANT, "assertion": assertion}
    try:
        return await _request(http, client.token_url, form, {})
    except TokenRefused as error:
        raise TokenRefused(error.code, TokenRefusal.CLIENT) from None


async def revoke(http: httpx.AsyncClient, revoke_url: str, client: OAuthClient, *, token: str) -> int:
    """Ask the provider to revoke a token (RFC 7009), and return the HTTP status of its answer.

    Raises httpx.HTTPError. The caller has already deleted the token, so the answer changes nothing.
    """
    form, headers = authenticated(client, {"token": token})
    async with http.stream("POST", revoke_url, data=form, headers=headers, follow_redirects=False) as answer:
        return answer.status_code


def _unix_time(date: str | None) -> float:
    """Return the time of the provider's clock, by which it writes a Retry-After; ours if it does not say."""
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return parsedate_to_datetime(date or "").timestamp()
    return time.time()


def _expires_in(value: object) -> int:
    """Return the lifetime in seconds; some providers send it as a string, and some leave it out (3600)."""
    try:
        return max(1, min(int(str(value)), 86_400))
    except ValueError:
        return 3600


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
