"""How does a grant become an access token? By refresh token, or in the application's own name."""

import httpx

from superimap.oauth.endpoint import Client, Grant, ask


async def refresh(http: httpx.AsyncClient, client: Client, *, refresh_token: str) -> Grant:
    """A new access token (RFC 6749 section 6); a replaced refresh token must be stored before use.

    Raises TokenRefused or TokenUnavailable.
    """
    return await ask(http, client, {"grant_type": "refresh_token", "refresh_token": refresh_token})


async def client_credentials(http: httpx.AsyncClient, client: Client, *, scope: str) -> Grant:
    """A token for every mailbox that the application was given (RFC 6749 section 4.4).

    Microsoft calls it app-only access: learn.microsoft.com, "Authenticate an IMAP, POP or SMTP connection
    using OAuth". Raises TokenRefused or TokenUnavailable.
    """
    return await ask(http, client, {"grant_type": "client_credentials", "scope": scope})


async def revoke(http: httpx.AsyncClient, revoke_url: str, client: Client, *, token: str) -> int:
    """Tell the provider that a token is to be forgotten (RFC 7009); the HTTP status it answered.

    Raises httpx.HTTPError. Whatever it answers, we have forgotten the token ourselves.
    """
    form = {"token": token, "client_id": client.client_id, "client_secret": client.client_secret}
    async with http.stream("POST", revoke_url, data=form, follow_redirects=False) as answer:
        return answer.status_code
