"""Authentication of an OAuth 2.0 client at a token endpoint: form, HTTP Basic, or a signed assertion."""

import secrets
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote_plus

from superimap.domain.providers import ClientAuth
from superimap.oauth.refusal_codes import TokenRefusal
from superimap.oauth.token_errors import TokenRefused

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 300
"""Lifetime of an assertion. Microsoft asks for five to ten minutes."""


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """A partner's OAuth 2.0 client at a provider, with the provider's token URL.

    With `auth` private_key_jwt the `client_secret` is the private key, which is never sent.
    """

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    auth: ClientAuth = ClientAuth.SECRET_POST


def authenticated(client: OAuthClient, form: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the form and the headers of a request, with the client's authentication (RFC 6749 section 2.3)."""
    match client.auth:
        case ClientAuth.SECRET_BASIC:
            return {**form}, {"Authorization": basic_credentials(client.client_id, client.client_secret)}
        case ClientAuth.PRIVATE_KEY_JWT:
            assertion = client_assertion(client, now=int(time.time()), jti=secrets.token_urlsafe(16))
            more = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
            return {**form, "client_id": client.client_id, **more}, {}
    return {**form, "client_id": client.client_id, "client_secret": client.client_secret}, {}


def basic_credentials(client_id: str, client_secret: str) -> str:
    """Return the header's value. Both parts are form-encoded (RFC 6749 section 2.3.1): they may have a colon."""
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
    return f"Basic {b64encode(pair.encode()).decode()}"


def client_assertion(client: OAuthClient, *, now: int, jti: str) -> str:
    """Return a JWT by which the client authenticates at its token URL (RFC 7523 sections 2.2 and 3).

    Raises TokenRefused if the key cannot sign. `now` is Unix time; `jti` makes the assertion unique.
    """
    return _sign(client, {"sub": client.client_id, "jti": jti}, now=now)


def grant_assertion(client: OAuthClient, *, account: str, scope: str, now: int) -> str:
    """Return a JWT by which the client asks for a token of an account (RFC 7523 sections 2.1 and 3).

    Google wants the scope in it: developers.google.com, "Using OAuth 2.0 for Server to Server Applications".
    Raises TokenRefused if the key cannot sign. `now` is Unix time.
    """
    return _sign(client, {"sub": account, "scope": scope}, now=now)


def _sign(client: OAuthClient, claims: Mapping[str, str], *, now: int) -> str:
    """Sign a JWT for the client's token URL only."""
    # Few providers need these, and importing them costs an idler memory.
    from joserfc import jwt  # noqa: PLC0415

    from superimap.core.private_keys import UnusableKey, read_signing_key  # noqa: PLC0415

    try:
        signing = read_signing_key(client.client_secret)
    except UnusableKey:
        raise TokenRefused("unusable_private_key", TokenRefusal.CLIENT) from None
    times = {"iat": now, "exp": now + ASSERTION_SECONDS}
    payload = {"iss": client.client_id, "aud": client.token_url, **claims, **times}
    header = {"alg": signing.algorithm, "typ": "JWT", **signing.header}
    return jwt.encode(header, payload, signing.key, [signing.algorithm])
