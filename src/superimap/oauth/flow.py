"""How is a person asked for consent, and what comes back? (RFC 6749 section 4.1, RFC 7636, RFC 9700)

Pure but for `exchange`: secrets are drawn by `begin` and kept by the caller, the state hashed, until the person
comes back with it.
"""

import hashlib
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field

import httpx
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from superimap.oauth.endpoint import Client, Grant, ask

# OpenID Connect Core 5.4 and 11.
_IDENTITY = {"openid", "profile", "email", "address", "phone", "offline_access"}


@dataclass(frozen=True, slots=True)
class Consent:
    """What a provider wants to be asked, as data."""

    authorize_url: str
    client_id: str
    redirect_uri: str
    scope: str
    access_type: str | None = None
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """A consent under way. `url` is where the person goes; `state` and `verifier` are secrets."""

    url: str = field(repr=False)
    state: str = field(repr=False)
    verifier: str = field(repr=False)


def begin(consent: Consent, *, login_hint: str | None = None) -> Begun:
    """Draw state and PKCE verifier, and make the address to send the person to."""
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    extra = {
        "code_challenge": create_s256_code_challenge(verifier),
        "code_challenge_method": "S256",
        "nonce": nonce_of(state) if "openid" in consent.scope.split() else None,
        "access_type": consent.access_type,
        "prompt": consent.prompt,
        "login_hint": login_hint,
    }
    url: str = prepare_grant_uri(
        consent.authorize_url,
        consent.client_id,
        "code",
        redirect_uri=consent.redirect_uri,
        scope=consent.scope,
        state=state,
        **{name: value for name, value in extra.items() if value},
    )
    return Begun(url, state, verifier)


def leaves_mail_out(asked: str, granted: str | None) -> bool:
    """Whether a person consented to nothing that opens mail: Google lets them untick single scopes.

    A provider that names no scopes has granted all that was asked (RFC 6749 section 5.1). Scopes are compared by
    their last part, as Microsoft writes the rest of it in several ways.
    """
    if granted is None:
        return False
    wanted = {_last(scope) for scope in asked.split()} - _IDENTITY
    return bool(wanted) and wanted.isdisjoint(_last(scope) for scope in granted.replace(",", " ").split())


def _last(scope: str) -> str:
    return scope.rstrip("/").rpartition("/")[2].lower()


def nonce_of(state: str) -> str:
    """The nonce that goes with a state: it ties an ID token to this very consent, and needs no keeping."""
    return urlsafe_b64encode(hashlib.sha256(b"nonce\0" + state.encode()).digest()).decode().rstrip("=")


async def exchange(
    http: httpx.AsyncClient, client: Client, *, code: str, verifier: str, redirect_uri: str
) -> Grant:
    """Turn the code that the person brought into tokens. Raises TokenRefused or TokenUnavailable."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": verifier,
        "redirect_uri": redirect_uri,
    }
    return await ask(http, client, form)
