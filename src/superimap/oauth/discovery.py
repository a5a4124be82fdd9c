"""Metadata of an OpenID provider (OpenID Connect Discovery 1.0), read from its issuer and kept for an hour."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from superimap.core.egress import Guard
from superimap.core.setting_types import HOST
from superimap.domain.providers import ClientAuth
from superimap.oauth.http_client import guarded_client
from superimap.oauth.identity import IdentityError, read_document

METADATA_SECONDS = 3600
FAILURE_SECONDS = 5
"""Pause after metadata could not be read, so that visitors of the sign-in page cause few requests."""
_PATH = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class ProviderMetadata:
    """Where an OpenID provider signs people in. `client_auth` is how it wants a secret."""

    issuer: str
    authorize_url: str
    token_url: str
    jwks_url: str
    client_auth: ClientAuth


class Discovery:
    """The metadata of one issuer. Requests at once share one reading."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._found: ProviderMetadata | None = None
        self._fault = ""
        self._expires_at = 0.0

    async def find(self, guard: Guard, issuer: str) -> ProviderMetadata:
        """Return the metadata, which is read through the egress guard. Raises IdentityError."""
        async with self._lock:
            if time.monotonic() >= self._expires_at:
                await self._read(guard, issuer)
            if self._found is None:
                raise IdentityError(self._fault)
            return self._found

    async def _read(self, guard: Guard, issuer: str) -> None:
        self._found = None
        try:
            async with guarded_client(guard) as http:
                fields = await read_document(http, issuer.rstrip("/") + _PATH, {}, "metadata")
            self._found = provider_metadata(fields, issuer)
        except IdentityError as error:
            self._fault = str(error)
        self._expires_at = time.monotonic() + (METADATA_SECONDS if self._found else FAILURE_SECONDS)


def provider_metadata(fields: dict[str, Any], issuer: str) -> ProviderMetadata:
    """Return the metadata in a document of the provider. Raises IdentityError if it is another issuer's. Pure."""
    if fields.get("issuer") != issuer:
        raise IdentityError("the provider's metadata names another issuer than OIDC_ISSUER")
    names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    urls = [_url(fields.get(name), name, issuer) for name in names]
    # Without this member it is HTTP Basic (OpenID Connect Discovery 3).
    methods = fields.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    takes_form = isinstance(methods, list) and "client_secret_post" in methods
    auth = ClientAuth.SECRET_POST if takes_form else ClientAuth.SECRET_BASIC
    return ProviderMetadata(issuer, urls[0], urls[1], urls[2], auth)


def _url(value: object, name: str, issuer: str) -> str:
    """Return a URL of the provider, which has HTTPS if its issuer has."""
    fault = IdentityError(f"the provider's metadata has no usable {name}")
    if not isinstance(value, str) or not value.isprintable():
        raise fault
    try:
        url = httpx.URL(value)
        url.host.encode("idna")
    except (httpx.InvalidURL, ValueError):  # also of a name with an empty label, or one that is too long
        raise fault from None
    if HOST.fullmatch(url.netloc.decode()) is None or url.scheme not in {"https", urlsplit(issuer).scheme}:
        raise fault
    return value
