"""The account that a consent opened, from the ID token or userinfo (OpenID Connect Core 3.1.3.7 and 5.3)."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from superimap.core.errors import SuperImapError
from superimap.oauth.http_client import error_name, read_json
from superimap.oauth.id_tokens import UntrustedToken, verified_claims
from superimap.oauth.token_endpoint import DEADLINE_SECONDS, TokenResponse

CLOCK_SKEW_SECONDS = 300.0  # by which a provider's clock may be off
MAX_EMAIL_LENGTH = 320
MAX_ALIASES = 20


class IdentityError(SuperImapError):
    """The provider did not name the account, or not in a way that can be trusted."""


@dataclass(frozen=True, slots=True)
class MailAccount:
    """An account as its provider names it: the login name, and further addresses that the provider vouches for."""

    name: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IdentitySources:
    """Where a provider names the account. Without `jwks_url` an ID token is not trusted.

    The first of `email_claims` that has an address is the login name. Microsoft's `email` can be set at will by a
    tenant's administrator, its `preferred_username` cannot.
    """

    client_id: str
    issuer: str | None = None
    jwks_url: str | None = None
    userinfo_url: str | None = None
    email_claims: tuple[str, ...] = ("email",)


async def find_account(
    http: httpx.AsyncClient, sources: IdentitySources, tokens: TokenResponse, *, nonce: str, now: float
) -> MailAccount | None:
    """Return the account that the tokens open; None if the provider does not report it. Raises IdentityError."""
    if tokens.id_token and sources.jwks_url:
        claims = await id_token_claims(http, sources, tokens.id_token, nonce=nonce, now=now)
        if account := account_of(claims, sources.email_claims):
            return account
    if sources.userinfo_url:
        if account := account_of(await _userinfo(http, sources.userinfo_url, tokens), sources.email_claims):
            return account
        raise IdentityError("the provider did not send the email address of the account")
    if sources.jwks_url:
        raise IdentityError("the provider sent no ID token with the email address of the account")
    return None


async def id_token_claims(
    http: httpx.AsyncClient, sources: IdentitySources, id_token: str, *, nonce: str, now: float
) -> Mapping[str, Any]:
    """Return the claims of an ID token after checking its signature, audience, issuer, time and nonce.

    Raises IdentityError.
    """
    fields = await read_document(http, sources.jwks_url or "", {}, "keys")
    try:
        claims = verified_claims(id_token, fields)
    except UntrustedToken as error:
        raise IdentityError(f"the ID token cannot be trusted: {error}") from None
    if fault := claims_fault(claims, sources, nonce=nonce, now=now):
        raise IdentityError(f"the ID token cannot be trusted: {fault}")
    return claims


def claims_fault(
    claims: Mapping[str, Any], sources: IdentitySources, *, nonce: str, now: float
) -> str | None:
    """Return what is wrong with the claims of a correctly signed ID token, or None. Pure."""
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    expires = claims.get("exp")
    if sources.client_id not in audiences:
        return "it was issued for another application"
    # Google writes its issuer with and without the scheme (developers.google.com/identity/openid-connect).
    issuer = str(claims.get("iss")).removeprefix("https://")
    if sources.issuer and issuer != _issuer(sources.issuer, claims).removeprefix("https://"):
        return "it was issued by another provider"
    if not isinstance(expires, int | float) or not expires >= now - CLOCK_SKEW_SECONDS:  # NaN is neither
        return "it has expired"
    if claims.get("nonce") != nonce:
        return "it belongs to another consent"
    return None


def _issuer(issuer: str, claims: Mapping[str, Any]) -> str:
    """Return the issuer with the tenant's id filled in: Microsoft's has it, from the claim `tid`."""
    return issuer.replace("{tenantid}", str(claims.get("tid", "")))


def account_of(claims: Mapping[str, Any], names: tuple[str, ...]) -> MailAccount | None:
    """Return the account with these claims. Raises IdentityError if the provider has not verified it. Pure."""
    if claims.get("email_verified") in (False, "false"):
        raise IdentityError("the provider has not verified the email address of the account")
    name = next(filter(None, (address_of(claims.get(name)) for name in names)), None)
    if name is None:
        return None
    further = [address_of(each) for claim in _VERIFIED_CLAIMS for each in _listed(claims.get(claim))]
    email = address_of(claims.get("email"))
    if email is not None and is_proven(claims):
        further.append(email)
    return MailAccount(name, tuple(address for address in further if address))


# Optional claims of Microsoft: addresses whose domains belong to the tenant
# (learn.microsoft.com, "Optional claims reference").
_VERIFIED_CLAIMS = ("verified_primary_email", "verified_secondary_email")
# The tenant of personal Microsoft accounts, where Microsoft itself verifies addresses.
_PERSONAL_TENANT = "9188040d-6c67-4b5b-b112-36a304b66dad"


def is_proven(claims: Mapping[str, Any]) -> bool:
    """Whether the claim `email` is more than a text that a tenant's administrator typed.

    Verified by the provider, or Microsoft's `xms_edov`: its domain belongs to the tenant. The domain of the login
    name proves nothing, as a guest of a tenant keeps the name that a foreign domain gave.
    """
    is_verified = claims.get("email_verified") in (True, "true")
    return (
        is_verified
        or claims.get("xms_edov") in (True, 1, "1", "true")
        or claims.get("tid") == _PERSONAL_TENANT
    )


def address_of(value: object) -> str | None:
    """Return the email address in a claim; None if it is none."""
    if not isinstance(value, str) or len(value) > MAX_EMAIL_LENGTH or not value.isprintable():
        return None
    local, _, domain = value.strip().rpartition("@")
    return value.strip() if local and domain else None


def _listed(value: object) -> list[object]:
    return value[:MAX_ALIASES] if isinstance(value, list) else [value]


async def _userinfo(http: httpx.AsyncClient, url: str, tokens: TokenResponse) -> Mapping[str, Any]:
    return await read_document(http, url, {"Authorization": f"Bearer {tokens.access_token}"}, "userinfo")


async def read_document(
    http: httpx.AsyncClient, url: str, headers: Mapping[str, str], what: str
) -> dict[str, Any]:
    """Return a JSON object of the provider, whose name `what` is for errors. Raises IdentityError."""
    try:
        async with (
            asyncio.timeout(DEADLINE_SECONDS),
            http.stream("GET", url, headers=dict(headers), follow_redirects=False) as answer,
        ):
            if answer.status_code != 200:
                raise IdentityError(f"the provider's {what} answered HTTP {answer.status_code}")
            return await read_json(answer)
    except TimeoutError:
        raise IdentityError(f"the provider's {what} could not be read in time") from None
    except httpx.HTTPError as error:
        raise IdentityError(f"the provider's {what} could not be read: {error_name(error)}") from None
