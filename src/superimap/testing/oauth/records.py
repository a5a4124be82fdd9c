"""Records of the fake authorization server, in memory: clients, people, codes and tokens."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, TokenMixin
from authlib.oauth2.rfc7523.jwt_bearer import JWT_BEARER_GRANT_TYPE
from joserfc.jwk import RSAKey


@dataclass(frozen=True)
class Person:
    """A person with an account at the provider."""

    email: str
    name: str = ""

    def get_user_id(self) -> str:
        """Return the subject identifier in tokens: stable, and not an address."""
        return "sub-" + self.email


@dataclass
class RegisteredClient(ClientMixin):  # type: ignore[misc]
    """An application that is registered at the provider.

    One with a `public_key` may sign for the accounts of its `delegated_domain`, such as `@example.com`.
    """

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uris: tuple[str, ...]
    scopes: frozenset[str]
    public_key: RSAKey | None = None
    delegated_domain: str = "@"

    def get_client_id(self) -> str:
        """Return the client id."""
        return self.client_id

    def get_default_redirect_uri(self) -> str | None:
        """Return None: every request must name its redirect URI."""
        return None

    def get_allowed_scope(self, scope: str | None) -> str:
        """Return those scopes that the provider supports."""
        return " ".join(each for each in (scope or "").split() if each in self.scopes)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Whether the URI is exactly one of the registered ones (RFC 9700 section 2.1)."""
        return redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        """Compare the secret in constant time."""
        return secrets.compare_digest(self.client_secret.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        """Accept the secret in the form or by HTTP Basic; there are no public clients."""
        return method in {"client_secret_post", "client_secret_basic"}

    def check_response_type(self, response_type: str) -> bool:
        """Accept codes only."""
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        """Accept codes, refresh tokens and client credentials; assertions of those that can sign."""
        if grant_type == JWT_BEARER_GRANT_TYPE:
            return self.public_key is not None
        return grant_type in {"authorization_code", "refresh_token", "client_credentials"}


@dataclass
class AuthorizationCode(AuthorizationCodeMixin):  # type: ignore[misc]
    """An authorization code: valid once, for a minute, for one client and one redirect URI."""

    code: str
    client_id: str
    redirect_uri: str | None
    scope: str
    person: Person
    nonce: str | None
    code_challenge: str | None
    code_challenge_method: str | None
    is_offline: bool
    expires_at: float

    def get_redirect_uri(self) -> str | None:
        """Return the redirect URI that it was sent to."""
        return self.redirect_uri

    def get_scope(self) -> str:
        """Return the scopes that the person has consented to."""
        return self.scope

    def get_nonce(self) -> str | None:
        """Return the nonce that the ID token must repeat."""
        return self.nonce

    def get_auth_time(self) -> None:
        """Return None: not provided."""

    def get_acr(self) -> None:
        """Return None: not provided."""

    def get_amr(self) -> None:
        """Return None: not provided."""


@dataclass
class IssuedToken(TokenMixin):  # type: ignore[misc]
    """An access token, with its refresh token if one was issued. Times are Unix seconds."""

    client_id: str
    person: Person | None
    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    scope: str
    issued_at: float
    expires_in: int
    revoked: bool = False
    refresh_revoked: bool = False

    def check_client(self, client: RegisteredClient) -> bool:
        """Whether the token was issued to this client."""
        return self.client_id == client.client_id

    def get_scope(self) -> str:
        """Return the scopes of the token."""
        return self.scope

    def get_expires_in(self) -> int:
        """Return the lifetime of the token in seconds."""
        return self.expires_in

    def is_expired(self) -> bool:
        """Whether the token has expired."""
        return time.time() >= self.issued_at + self.expires_in

    def is_revoked(self) -> bool:
        """Whether the token has been revoked."""
        return self.revoked

    def get_user(self) -> Person | None:
        """Return the person whose account the token opens."""
        return self.person

    def get_client(self) -> str:
        """Return the id of the client that the token was issued to."""
        return self.client_id


class Records:
    """All records of the provider."""

    def __init__(self, scopes: Iterable[str]) -> None:
        self.scopes = frozenset(scopes)
        self.clients: dict[str, RegisteredClient] = {}
        self.people: dict[str, Person] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.tokens: list[IssuedToken] = []
        self._by_access: dict[str, IssuedToken] = {}
        self._by_refresh: dict[str, IssuedToken] = {}

    def keep(self, token: IssuedToken) -> IssuedToken:
        """Store an issued token."""
        self.tokens.append(token)
        self._by_access[token.access_token] = token
        if token.refresh_token:
            self._by_refresh[token.refresh_token] = token
        return token

    def by_access(self, text: str) -> IssuedToken | None:
        """Return the token with this access token."""
        return self._by_access.get(text)

    def by_refresh(self, text: str) -> IssuedToken | None:
        """Return the token with this refresh token."""
        return self._by_refresh.get(text)

    def find(self, text: str) -> IssuedToken | None:
        """Return the token with this access token or refresh token."""
        return self.by_access(text) or self.by_refresh(text)
