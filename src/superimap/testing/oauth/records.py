"""What does an authorization server keep? Clients, people, codes and tokens; here in memory."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, TokenMixin


@dataclass(frozen=True)
class Person:
    """Somebody with an account at the provider."""

    email: str
    name: str = ""

    def get_user_id(self) -> str:
        """What tokens know them by: stable, and no address."""
        return "sub-" + self.email


@dataclass
class RegisteredClient(ClientMixin):  # type: ignore[misc]
    """An application that was registered at the provider."""

    client_id: str
    client_secret: str = field(repr=False)
    redirect_uris: tuple[str, ...]
    scopes: frozenset[str]

    def get_client_id(self) -> str:
        """Its public name."""
        return self.client_id

    def get_default_redirect_uri(self) -> str | None:
        """None: it must say where to."""
        return None

    def get_allowed_scope(self, scope: str | None) -> str:
        """Those of `scope` that the provider knows."""
        return " ".join(each for each in (scope or "").split() if each in self.scopes)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Exactly one of the registered ones (RFC 9700 section 2.1)."""
        return redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        """In constant time."""
        return secrets.compare_digest(self.client_secret.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        """Secret in the form or by HTTP Basic; there are no public clients here."""
        return method in {"client_secret_post", "client_secret_basic"}

    def check_response_type(self, response_type: str) -> bool:
        """Codes alone."""
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        """By code, by refresh token, or in its own name."""
        return grant_type in {"authorization_code", "refresh_token", "client_credentials"}


@dataclass
class AuthorizationCode(AuthorizationCodeMixin):  # type: ignore[misc]
    """An authorization code: once, for a minute, for one client and one redirect URI."""

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
        """Where it was sent."""
        return self.redirect_uri

    def get_scope(self) -> str:
        """What was consented to."""
        return self.scope

    def get_nonce(self) -> str | None:
        """What the ID token repeats."""
        return self.nonce

    def get_auth_time(self) -> None:
        """Not told."""

    def get_acr(self) -> None:
        """Not told."""

    def get_amr(self) -> None:
        """Not told."""


@dataclass
class IssuedToken(TokenMixin):  # type: ignore[misc]
    """An access token with its refresh token, if one was given. Times are Unix seconds."""

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
        """Whether it was given to that client."""
        return self.client_id == client.client_id

    def get_scope(self) -> str:
        """What it opens."""
        return self.scope

    def get_expires_in(self) -> int:
        """Seconds that it was given for."""
        return self.expires_in

    def is_expired(self) -> bool:
        """Whether its time is over."""
        return time.time() >= self.issued_at + self.expires_in

    def is_revoked(self) -> bool:
        """Whether it was taken back."""
        return self.revoked

    def get_user(self) -> Person | None:
        """Whose account it opens."""
        return self.person

    def get_client(self) -> str:
        """Whom it was given to."""
        return self.client_id


class Records:
    """All that the provider knows."""

    def __init__(self, scopes: Iterable[str]) -> None:
        self.scopes = frozenset(scopes)
        self.clients: dict[str, RegisteredClient] = {}
        self.people: dict[str, Person] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.tokens: list[IssuedToken] = []
        self._by_access: dict[str, IssuedToken] = {}
        self._by_refresh: dict[str, IssuedToken] = {}

    def keep(self, token: IssuedToken) -> IssuedToken:
        """Remember a token that was given."""
        self.tokens.append(token)
        self._by_access[token.access_token] = token
        if token.refresh_token:
            self._by_refresh[token.refresh_token] = token
        return token

    def by_access(self, text: str) -> IssuedToken | None:
        """The token that opens accounts under this text."""
        return self._by_access.get(text)

    def by_refresh(self, text: str) -> IssuedToken | None:
        """The token that this refresh token belongs to."""
        return self._by_refresh.get(text)

    def find(self, text: str) -> IssuedToken | None:
        """By either."""
        return self.by_access(text) or self.by_refresh(text)
