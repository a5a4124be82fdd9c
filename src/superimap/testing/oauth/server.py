"""Fake OAuth 2.0 and OpenID Connect provider on its own port.

`async with OAuthServer() as provider:` — register clients and people, then send a browser to `url("/authorize")`.
It follows the standards (authlib's server side) until a fault is armed: `provider.faults.arm("no_refresh_token")`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from authlib.oauth2 import OAuth2Error
from joserfc.jwk import RSAKey

from superimap.testing.oauth.answers import consent_page, faulty_redirect, faulty_token_response
from superimap.testing.oauth.faults import (
    CONSENT_FAULTS,
    OTHER_FAULTS,
    TOKEN_CONTENT_FAULTS,
    TOKEN_ENDPOINT_FAULTS,
    Faults,
)
from superimap.testing.oauth.form_request import FormRequest
from superimap.testing.oauth.records import IssuedToken, Person, Records, RegisteredClient
from superimap.testing.oauth.rules import AuthorizationRules, TokenPolicy, userinfo

SCOPES = ("openid", "profile", "email", "offline_access", "mail")


class OAuthServer:
    """An authorization server in memory.

    `faults` makes it fail, `requests` logs Unix time and path of each request. `extra_keys` precede its own key in
    the JWKS; `terms.extra_claims` are added to ID tokens and userinfo.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        scopes: Iterable[str] = SCOPES,
        expires_in: int = 3600,
        rotates: bool = False,
        consents: str | None = None,
        tls: SSLContext | None = None,
    ) -> None:
        """`expires_in` is the lifetime of access tokens in seconds.

        `rotates` issues a new refresh token at every use.

        `consents` is the email address of a person who consents without a page.
        """
        self.host = host
        self.port = port
        self.consents = consents
        self.faults = Faults()
        self.records = Records(scopes)
        self.terms = TokenPolicy(issuer="", expires_in=expires_in, rotates=rotates)
        self.requests: list[tuple[float, str]] = []  # Unix time and path
        self.extra_keys: list[dict[str, Any]] = []
        self._rules = AuthorizationRules(self.records, self.terms)
        self._tls = tls
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024)
        app.add_routes([
            web.get("/authorize", self._ask), web.post("/authorize", self._decide),
            web.post("/token", self._token), web.post("/revoke", self._revoke),
            web.post("/introspect", self._introspect), web.get("/userinfo", self._userinfo),
            web.get("/jwks", self._jwks), web.get("/.well-known/openid-configuration", self._metadata),
        ])  # fmt: skip
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handle_signals=False, handler_cancellation=True
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port, ssl_context=self._tls).start()
        self.port = self._runner.addresses[0][1]
        self.terms.issuer = self.url()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def url(self, path: str = "") -> str:
        """Return the URL of `path` on this server."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}{path}"

    def add_client(
        self, *redirect_uris: str, client_id: str = "client", client_secret: str | None = None
    ) -> RegisteredClient:
        """Register an application. Its secret is random by default."""
        client = RegisteredClient(
            client_id, client_secret or secrets.token_urlsafe(24), redirect_uris, self.records.scopes
        )
        self.records.clients[client_id] = client
        return client

    def add_service_account(self, client_id: str, public_key: RSAKey, *, domain: str) -> RegisteredClient:
        """Register an application that may sign for the accounts of a domain."""
        client = self.add_client(client_id=client_id)
        client.public_key, client.delegated_domain = public_key, f"@{domain}"
        return client

    def add_person(self, email: str, *, name: str = "") -> Person:
        """Create an account for a person."""
        return self.records.people.setdefault(email, Person(email, name))

    def grant(
        self, email: str, *, client_id: str = "client", scope: str = "openid email mail"
    ) -> IssuedToken:
        """Issue tokens as after a consent, without the redirects."""
        return self.records.keep(
            IssuedToken(
                client_id=client_id,
                person=self.add_person(email),
                access_token="at-" + secrets.token_urlsafe(24),
                refresh_token="rt-" + secrets.token_urlsafe(24),
                scope=scope,
                issued_at=time.time(),
                expires_in=self.terms.expires_in,
            )
        )

    def opens(self, access_token: str, email: str) -> bool:
        """Whether a mail server should accept this token for this account now."""
        return self.opens_for(access_token, email) > 0

    def opens_for(self, access_token: str, email: str) -> float:
        """Return for how many seconds a mail server should accept this token for this account; 0: not at all.

        A token from client credentials opens every account, as if an administrator had allowed it.
        """
        token = self.records.by_access(access_token)
        if token is None or token.is_revoked():
            return 0.0
        is_theirs = token.person is None or token.person.email.lower() == email.lower()
        return max(0.0, token.issued_at + token.expires_in - time.time()) if is_theirs else 0.0

    def revoke(self, email: str) -> None:
        """Revoke every token of a person, as the person can in the provider's settings."""
        for token in self.records.tokens:
            if token.person and token.person.email == email:
                token.revoked = token.refresh_revoked = True

    def count(self, path: str) -> int:
        """Return the number of requests to `path`."""
        return sum(1 for _, each in self.requests if each == path)

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        asked = await self._read(request)
        try:
            grant = self._rules.get_consent_grant(asked, end_user=None)
        except OAuth2Error as error:
            return web.Response(status=400, text=f"{error.error}: {error.description or ''}")
        if self.consents is not None:
            return self._answer(asked, grant, self.records.people[self.consents])
        hint = request.query.get("login_hint", "")
        emails = list(self.records.people)
        chosen = emails[0] if len(emails) == 1 else hint
        return consent_page(grant.client.client_id, asked.payload.scope or "nothing", emails, chosen=chosen)

    async def _decide(self, request: web.Request) -> web.StreamResponse:
        asked = await self._read(request)
        try:
            grant = self._rules.get_consent_grant(asked, end_user=None)
        except OAuth2Error as error:
            return web.Response(status=400, text=f"{error.error}: {error.description or ''}")
        person = self.records.people.get(asked.form.get("email", ""))
        return self._answer(asked, grant, person if asked.form.get("decision") == "allow" else None)

    def _answer(self, asked: FormRequest, grant: Any, person: Person | None) -> web.StreamResponse:
        """Redirect to the application with the decision, or with an armed fault."""
        fault = self.faults.strike(CONSENT_FAULTS)
        if fault == "wrong_account":
            person = self.add_person("somebody.else@example.com")
        response: web.Response = self._rules.create_authorization_response(
            asked, grant_user=None if fault == "denied" else person, grant=grant
        )
        if fault in {"wrong_state", "no_state", "wrong_code", "unavailable"}:
            response.headers["Location"] = faulty_redirect(response.headers["Location"], fault)
        return response

    async def _token(self, request: web.Request) -> web.StreamResponse:
        asked = await self._read(request)
        refreshed = self.records.by_refresh(asked.form.get("refresh_token", ""))
        person = refreshed.person if refreshed else None
        email = person.email if person else None
        if fault := self.faults.strike(TOKEN_ENDPOINT_FAULTS, email=email):
            return await faulty_token_response(fault)
        self._rules.spoil = self.faults.strike(TOKEN_CONTENT_FAULTS, email=email)
        try:
            response: web.Response = self._rules.create_token_response(asked)
        finally:
            self._rules.spoil = None
        return response

    async def _revoke(self, request: web.Request) -> web.StreamResponse:
        asked = await self._read(request)
        if self.faults.strike(OTHER_FAULTS & {"revoke_error"}):
            return web.Response(status=500)
        response: web.Response = self._rules.create_endpoint_response("revocation", asked)
        return response

    async def _introspect(self, request: web.Request) -> web.StreamResponse:
        response: web.Response = self._rules.create_endpoint_response(
            "introspection", await self._read(request)
        )
        return response

    async def _userinfo(self, request: web.Request) -> web.StreamResponse:
        await self._read(request)
        token = self.records.by_access(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if token is None or token.person is None or token.is_revoked() or token.is_expired():
            return web.json_response({"error": "invalid_token"}, status=401)
        fault = self.faults.strike((OTHER_FAULTS | TOKEN_CONTENT_FAULTS) - {"revoke_error"})
        if fault == "userinfo_error":
            return web.Response(status=500)
        return web.json_response({**userinfo(token.person, spoil=fault), **self.terms.extra_claims})

    async def _jwks(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"keys": [*self.extra_keys, self.terms.key.as_dict(private=False)]})

    async def _metadata(self, request: web.Request) -> web.StreamResponse:
        """Return the server metadata (RFC 8414)."""
        return web.json_response({
            "issuer": self.terms.issuer,
            "authorization_endpoint": self.url("/authorize"),
            "token_endpoint": self.url("/token"),
            "revocation_endpoint": self.url("/revoke"),
            "introspection_endpoint": self.url("/introspect"),
            "userinfo_endpoint": self.url("/userinfo"),
            "jwks_uri": self.url("/jwks"),
            "scopes_supported": sorted(self.records.scopes),
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "id_token_signing_alg_values_supported": ["RS256"],
        })  # fmt: skip

    async def _read(self, request: web.Request) -> FormRequest:
        self.requests.append((time.time(), request.path))
        form = await request.post()
        return FormRequest(request, {name: value for name, value in form.items() if isinstance(value, str)})
