"""Whose account was opened? Told by the ID token, or by userinfo. (OpenID Connect Core 3.1.3.7 and 5.3)"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from superimap.core.errors import SuperImapError
from superimap.oauth.endpoint import DEADLINE, Grant, kind_of, read

ALGORITHMS = ["RS256", "ES256", "PS256", "RS384", "RS512", "ES384", "EdDSA"]  # none, and no shared secrets
SKEW = 300.0  # seconds that a provider's clock may be off


class NoIdentity(SuperImapError):
    """The provider did not tell whose account it is, or not so that it can be believed."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a provider tells who somebody is. Without `jwks_url` an ID token is not believed.

    `email_claims` are looked at in order: Microsoft's `email` may be set at will by a tenant's administrator,
    its `preferred_username` may not.
    """

    client_id: str
    issuer: str | None = None
    jwks_url: str | None = None
    userinfo_url: str | None = None
    email_claims: tuple[str, ...] = ("email",)


async def email_of(
    http: httpx.AsyncClient, sources: Sources, grant: Grant, *, nonce: str, now: float
) -> str | None:
    """The address of the account; None if the provider has no way to tell. Raises NoIdentity."""
    if grant.id_token and sources.jwks_url:
        claims = await _claims(http, sources, grant.id_token, nonce=nonce, now=now)
        if email := _email(claims, sources.email_claims):
            return email
    if sources.userinfo_url:
        if email := _email(await _userinfo(http, sources.userinfo_url, grant), sources.email_claims):
            return email
        raise NoIdentity("the provider did not tell the address of the account")
    if sources.jwks_url:
        raise NoIdentity("the provider gave no ID token with the address of the account")
    return None


async def _claims(
    http: httpx.AsyncClient, sources: Sources, id_token: str, *, nonce: str, now: float
) -> Mapping[str, Any]:
    """What an ID token says, once its signature, audience, issuer, time and nonce are right."""
    fields = await _get(http, sources.jwks_url or "", {}, "keys")
    try:
        token = jwt.decode(id_token, KeySet.import_key_set(fields), algorithms=ALGORITHMS)  # type: ignore[arg-type]
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise NoIdentity(f"the ID token cannot be believed: {type(error).__name__}") from None
    if fault := fault_of(token.claims, sources, nonce=nonce, now=now):
        raise NoIdentity(f"the ID token cannot be believed: {fault}")
    return token.claims


def fault_of(claims: Mapping[str, Any], sources: Sources, *, nonce: str, now: float) -> str | None:
    """What is wrong with the claims of a well-signed ID token, or None. Pure."""
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    expires = claims.get("exp")
    if sources.client_id not in audiences:
        return "it was made for another application"
    if sources.issuer and claims.get("iss") != _issuer(sources.issuer, claims):
        return "another provider made it"
    if not isinstance(expires, int | float) or expires + SKEW < now:
        return "it has expired"
    if claims.get("nonce") != nonce:
        return "it belongs to another consent"
    return None


def _issuer(issuer: str, claims: Mapping[str, Any]) -> str:
    """Microsoft's issuer holds the tenant's id, as the claim `tid` does."""
    return issuer.replace("{tenantid}", str(claims.get("tid", "")))


def _email(claims: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The address, unless the provider itself says that it was not verified."""
    if claims.get("email_verified") in (False, "false"):
        raise NoIdentity("the provider has not verified the address of the account")
    for name in names:
        value = claims.get(name)
        if isinstance(value, str) and "@" in value and len(value) <= 320 and value.isprintable():
            return value.strip()
    return None


async def _userinfo(http: httpx.AsyncClient, url: str, grant: Grant) -> Mapping[str, Any]:
    return await _get(http, url, {"Authorization": f"Bearer {grant.access_token}"}, "userinfo")


async def _get(http: httpx.AsyncClient, url: str, headers: Mapping[str, str], what: str) -> dict[str, Any]:
    try:
        async with (
            asyncio.timeout(DEADLINE),
            http.stream("GET", url, headers=dict(headers), follow_redirects=False) as answer,
        ):
            if answer.status_code != 200:
                raise NoIdentity(f"the provider's {what} answered HTTP {answer.status_code}")
            return await read(answer)
    except TimeoutError:
        raise NoIdentity(f"the provider's {what} could not be read in time") from None
    except httpx.HTTPError as error:
        raise NoIdentity(f"the provider's {what} could not be read: {kind_of(error)}") from None
