"""The consent of a person: authorization request and code exchange (RFC 6749 section 4.1, RFC 7636, RFC 9700).

Pure except for `exchange_code`. `start_consent` generates the secrets; the caller stores them, the state as a
digest, until the person returns with the state.
"""

import hashlib
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field

import httpx
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from superimap.oauth.client_auth import OAuthClient
from superimap.oauth.token_endpoint import TokenResponse, request_token

# OpenID Connect Core 5.4 and 11.
_IDENTITY_SCOPES = {"openid", "profile", "email", "address", "phone", "offline_access"}


@dataclass(frozen=True, slots=True)
class ConsentRequest:
    """Parameters of the authorization request, as the provider requires them."""

    authorize_url: str
    client_id: str
    redirect_uri: str
    scope: str
    access_type: str | None = None
    prompt: str | None = None
    max_age: int | None = None
    """Seconds since the person last proved their identity; 0: again now (OpenID Connect Core 3.1.2.1)."""


@dataclass(frozen=True, slots=True)
class StartedConsent:
    """A consent in progress. The person goes to `url`; `state` and `verifier` are secrets."""

    url: str = field(repr=False)
    state: str = field(repr=False)
    verifier: str = field(repr=False)


def start_consent(request: ConsentRequest, *, login_hint: str | None = None) -> StartedConsent:
    """Generate state and PKCE verifier, and build the URL to which the person is sent."""
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    extra = {
        "code_challenge": create_s256_code_challenge(verifier),
        "code_challenge_method": "S256",
        "nonce": nonce_of(state) if "openid" in request.scope.split() else None,
        "access_type": request.access_type,
        "prompt": request.prompt,
        "max_age": None if request.max_age is None else str(request.max_age),
        "login_hint": login_hint,
    }
    url: str = prepare_grant_uri(
        request.authorize_url,
        request.client_id,
        "code",
        redirect_uri=request.redirect_uri,
        scope=request.scope,
        state=state,
        **{name: value for name, value in extra.items() if value},
    )
    return StartedConsent(url, state, verifier)


def lacks_mail_scope(requested: str, granted: str | None) -> bool:
    """Whether none of the granted scopes opens mail: Google lets a person untick single scopes.

    A provider that names no scopes has granted all that were requested (RFC 6749 section 5.1). Scopes are compared
    by their last part, as Microsoft writes the rest of a scope in several ways.
    """
    if granted is None:
        return False
    wanted = {_last_part(scope) for scope in requested.split()} - _IDENTITY_SCOPES
    return bool(wanted) and wanted.isdisjoint(
        _last_part(scope) for scope in granted.replace(",", " ").split()
    )


def _last_part(scope: str) -> str:
    return scope.rstrip("/").rpartition("/")[2].lower()


def nonce_of(state: str) -> str:
    """Derive the nonce from the state. It ties an ID token to this consent, and need not be stored."""
    return urlsafe_b64encode(hashlib.sha256(b"nonce\0" + state.encode()).digest()).decode().rstrip("=")


async def exchange_code(
    http: httpx.AsyncClient, client: OAuthClient, *, code: str, verifier: str, redirect_uri: str
) -> TokenResponse:
    """Exchange the code that the person brought for tokens. Raises TokenRefused or TokenUnavailable."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": verifier,
        "redirect_uri": redirect_uri,
    }
    return await request_token(http, client, form)
