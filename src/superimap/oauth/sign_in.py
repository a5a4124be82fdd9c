"""People who sign in with an OpenID provider: their verified ID tokens (OpenID Connect Core 3.1.3.7)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from superimap.domain.operators import SignedInPerson
from superimap.oauth.client_auth import OAuthClient
from superimap.oauth.consent import exchange_code, nonce_of
from superimap.oauth.discovery import ProviderMetadata
from superimap.oauth.identity import (
    CLOCK_SKEW_SECONDS,
    IdentityError,
    IdentitySources,
    address_of,
    id_token_claims,
    is_proven,
)

MAX_SUBJECT_CHARACTERS = 255
"""OpenID Connect Core 2."""
MAX_MOMENT_SECONDS = 1e12
"""Later than any Unix time that a provider may mean."""


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Names of the claims with a person's address and groups."""

    email: str
    groups: str


@dataclass(frozen=True, slots=True)
class ReturnedCode:
    """The code that a person brings back from the provider, and what it was requested with."""

    code: str
    state: str
    verifier: str
    redirect_uri: str


async def identify_person(
    http: httpx.AsyncClient,
    metadata: ProviderMetadata,
    client: OAuthClient,
    returned: ReturnedCode,
    names: ClaimNames,
    *,
    now: float,
) -> SignedInPerson:
    """Exchange the code, and return the person of the ID token.

    Raises IdentityError, TokenRefused or TokenUnavailable. The access token is not used.
    """
    tokens = await exchange_code(
        http, client, code=returned.code, verifier=returned.verifier, redirect_uri=returned.redirect_uri
    )
    if tokens.id_token is None:
        raise IdentityError("the provider sent no ID token")
    sources = IdentitySources(client.client_id, issuer=metadata.issuer, jwks_url=metadata.jwks_url)
    nonce = nonce_of(returned.state)
    claims = await id_token_claims(http, sources, tokens.id_token, nonce=nonce, now=now)
    if fault := sign_in_fault(claims, sources, now=now):
        raise IdentityError(f"the ID token cannot be trusted: {fault}")
    return person_of(claims, names)


def sign_in_fault(claims: Mapping[str, Any], sources: IdentitySources, *, now: float) -> str | None:
    """Return what forbids a sign-in with claims that are good enough for a consent, or None. Pure."""
    subject, issued = claims.get("sub"), claims.get("iat")
    if claims.get("iss") != sources.issuer:  # a consent knows Google's and Microsoft's other spellings
        return "it was issued by another provider"
    is_shared = isinstance(claims.get("aud"), list) and len(claims["aud"]) > 1
    if claims.get("azp", None if is_shared else sources.client_id) != sources.client_id:
        return "it was issued to another application"
    if not isinstance(issued, int | float) or not issued <= now + CLOCK_SKEW_SECONDS:
        return "it was issued in the future"
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARACTERS:
        return "it names nobody"
    return None if subject.isprintable() else "it names nobody"


def person_of(claims: Mapping[str, Any], names: ClaimNames) -> SignedInPerson:
    """Return the person with these claims, which were verified. Pure."""
    email = address_of(claims.get(names.email))
    if names.email == "email" and not is_proven(claims):
        email = None
    listed = claims.get(names.groups)
    groups = listed if isinstance(listed, list) else [listed]  # an answer of 64 KiB bounds them
    return SignedInPerson(
        issuer=claims["iss"],
        subject=claims["sub"],
        email=email,
        groups=frozenset(each for each in groups if isinstance(each, str)),
        authenticated_at=_moment(claims.get("auth_time")),
    )


def _moment(value: object) -> float | None:
    """Return a Unix time; None for anything else, such as a number that is too large."""
    is_time = (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_MOMENT_SECONDS
    )
    return float(value) if is_time and isinstance(value, int | float) else None
