"""Rules of the authorization server, by authlib: RFC 6749, 7636, 7009, 7662, OpenID Connect Core."""

from __future__ import annotations

import functools
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from authlib.oauth2 import AuthorizationServer, OAuth2Request
from authlib.oauth2.rfc6749 import InvalidGrantError, UnauthorizedClientError, grants
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oidc.core import UserInfo
from authlib.oidc.core.grants import OpenIDCode
from joserfc.jwk import RSAKey

from superimap.testing.oauth.records import AuthorizationCode, IssuedToken, Person, Records, RegisteredClient

CODE_LIFETIME_SECONDS = 60.0


@functools.cache
def _key(kid: str) -> RSAKey:
    """Generate a key. It takes half a second, so once per process."""
    return RSAKey.generate_key(2048, {"kid": kid})


@dataclass
class TokenPolicy:
    """How the provider issues tokens."""

    issuer: str
    expires_in: int = 3600
    rotates: bool = False
    key: RSAKey = field(default_factory=lambda: _key("test"))
    extra_claims: dict[str, Any] = field(default_factory=dict)


class AuthorizationRules(AuthorizationServer):  # type: ignore[misc]
    """authlib's server on `Records`. `spoil` names the fault of the token that is being issued."""

    def __init__(self, records: Records, terms: TokenPolicy) -> None:
        super().__init__(scopes_supported=sorted(records.scopes))
        self.records = records
        self.terms = terms
        self.spoil: str | None = None
        self.register_token_generator("default", self._generate)
        self.register_grant(_CodeGrant, [CodeChallenge(required=False), _IdToken(self)])
        self.register_grant(_RefreshGrant)
        self.register_grant(_ClientGrant)
        self.register_grant(_AssertionGrant)
        self.register_endpoint(_Revocation)
        self.register_endpoint(_Introspection)

    def query_client(self, client_id: str) -> RegisteredClient | None:
        """Return the client with this id."""
        return self.records.clients.get(client_id)

    def save_token(self, token: dict[str, Any], request: OAuth2Request) -> None:
        """Store an issued token."""
        person = request.user if isinstance(request.user, Person) else None
        self.records.keep(
            IssuedToken(
                client_id=request.client.client_id,
                person=person,
                access_token=token["access_token"],
                refresh_token=token.get("refresh_token"),
                scope=token.get("scope", ""),
                issued_at=time.time(),
                expires_in=token["expires_in"],
            )
        )

    def create_oauth2_request(self, request: OAuth2Request) -> OAuth2Request:
        """Return the request, which is a `FormRequest` already."""
        return request

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> web.Response:
        """Convert a response to aiohttp's."""
        text = json.dumps(body) if isinstance(body, dict) else body or ""
        return web.Response(status=status, text=text, headers=dict(headers))

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Do nothing: signals have no receivers."""

    def _generate(
        self,
        grant_type: str,
        client: RegisteredClient,
        user: Person | None = None,
        scope: str | None = None,
        expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> dict[str, Any]:
        generator = BearerTokenGenerator(
            lambda **_: "at-" + secrets.token_urlsafe(24),
            lambda **_: "rt-" + secrets.token_urlsafe(24),
            lambda *_: self.terms.expires_in,
        )
        is_withheld = self.spoil == "no_refresh_token" or grant_type == "client_credentials"
        if self.spoil == "no_mail_scope":
            scope = " ".join(each for each in (scope or "").split() if each in {"openid", "email"})
        made: dict[str, Any] = generator(
            grant_type, client, user, scope, expires_in, include_refresh_token and not is_withheld
        )
        return made


class _CodeGrant(grants.AuthorizationCodeGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

    def save_authorization_code(self, code: str, request: OAuth2Request) -> None:
        data = request.payload.data
        self.server.records.codes[code] = AuthorizationCode(
            code=code,
            client_id=request.client.client_id,
            redirect_uri=request.payload.redirect_uri,
            scope=request.client.get_allowed_scope(request.payload.scope),
            person=request.user,
            nonce=data.get("nonce"),
            code_challenge=data.get("code_challenge"),
            code_challenge_method=data.get("code_challenge_method"),
            is_offline=data.get("access_type") == "offline" or "offline_access" in (data.get("scope") or ""),
            expires_at=time.time() + CODE_LIFETIME_SECONDS,
        )

    def query_authorization_code(self, code: str, client: RegisteredClient) -> AuthorizationCode | None:
        found = self.server.records.codes.get(code)
        is_valid = found and found.client_id == client.client_id and found.expires_at > time.time()
        return found if is_valid else None

    def delete_authorization_code(self, authorization_code: AuthorizationCode) -> None:
        del self.server.records.codes[authorization_code.code]

    def authenticate_user(self, authorization_code: AuthorizationCode) -> Person:
        return authorization_code.person


class _RefreshGrant(grants.RefreshTokenGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

    @property
    def INCLUDE_NEW_REFRESH_TOKEN(self) -> bool:
        return bool(self.server.terms.rotates)

    def authenticate_refresh_token(self, refresh_token: str) -> IssuedToken | None:
        found = self.server.records.by_refresh(refresh_token)
        return found if found and not found.refresh_revoked else None

    def authenticate_user(self, refresh_token: IssuedToken) -> Person | None:
        return refresh_token.person

    def revoke_old_credential(self, refresh_token: IssuedToken) -> None:
        """Revoke a rotated refresh token when its successor is issued (RFC 9700 section 4.14.2)."""
        if self.server.terms.rotates:
            refresh_token.refresh_revoked = True


class _ClientGrant(grants.ClientCredentialsGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")


class _AssertionGrant(JWTBearerGrant):  # type: ignore[misc]
    """Tokens for accounts for which a service account signs, with the scope in the assertion, as at Google."""

    def resolve_issuer_client(self, issuer: str) -> RegisteredClient | None:
        found: RegisteredClient | None = self.server.query_client(issuer)
        return found if found and found.public_key else None

    def resolve_client_public_key(self, client: RegisteredClient) -> RSAKey | None:
        return client.public_key

    def process_assertion_claims(self, assertion: str) -> Any:
        try:
            claims = super().process_assertion_claims(assertion)
        except InvalidGrantError:
            raise InvalidGrantError("Invalid JWT Signature.") from None  # as Google words it
        self.request.payload.data["scope"] = claims.get("scope", "")
        return claims

    def authenticate_user(self, subject: str) -> Person | None:
        found: Person | None = self.server.records.people.get(subject)
        return found

    def get_audiences(self) -> list[str]:
        return [f"{self.server.terms.issuer}/token"]

    def has_granted_permission(self, client: RegisteredClient, user: Person) -> bool:
        if not user.email.endswith(client.delegated_domain):
            raise UnauthorizedClientError  # as Google does
        return True


class _IdToken(OpenIDCode):  # type: ignore[misc]
    """Adds an ID token to each token that is requested with the scope `openid`."""

    def __init__(self, rules: AuthorizationRules) -> None:
        super().__init__(require_nonce=False)
        self._rules = rules

    def exists_nonce(self, nonce: str, request: OAuth2Request) -> bool:
        return False

    def resolve_client_private_key(self, client: RegisteredClient) -> RSAKey:
        is_forged = self._rules.spoil == "forged_id_token"
        return _key("forged") if is_forged else self._rules.terms.key

    def get_client_claims(self, client: RegisteredClient) -> dict[str, Any]:
        other = self._rules.spoil == "other_audience"
        return {"iss": self._rules.terms.issuer, "aud": ["another-client" if other else client.client_id]}

    def get_authorization_code_claims(self, authorization_code: AuthorizationCode) -> dict[str, Any]:
        if self._rules.spoil == "other_nonce":
            return {"nonce": "another-nonce"}
        claims: dict[str, Any] = super().get_authorization_code_claims(authorization_code)
        return claims

    def get_encode_header(self, client: RegisteredClient) -> dict[str, str]:
        return {"alg": "RS256", "kid": self._rules.terms.key.kid or ""}

    def generate_user_info(self, user: Person, scope: str) -> UserInfo:
        return UserInfo(**{**userinfo(user, spoil=self._rules.spoil), **self._rules.terms.extra_claims})


class _Revocation(RevocationEndpoint):  # type: ignore[misc]
    CLIENT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

    def authenticate_token(self, request: OAuth2Request, client: RegisteredClient) -> IssuedToken | None:
        self.check_params(request, client)
        found: IssuedToken | None = self.server.records.find(request.form["token"])
        if found and not found.check_client(client):
            raise InvalidGrantError()
        return found

    def revoke_token(self, token: IssuedToken, request: OAuth2Request) -> None:
        """Revoke a refresh token together with its access tokens (RFC 7009 section 2.1)."""
        token.revoked = token.refresh_revoked = True


class _Introspection(IntrospectionEndpoint):  # type: ignore[misc]
    CLIENT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

    def query_token(self, token_string: str, token_type_hint: str | None) -> IssuedToken | None:
        found: IssuedToken | None = self.server.records.by_access(token_string)
        return found

    def check_permission(self, token: IssuedToken, client: RegisteredClient, request: OAuth2Request) -> bool:
        return True

    def introspect_token(self, token: IssuedToken) -> dict[str, Any]:
        return describe_token(token)


def describe_token(token: IssuedToken) -> dict[str, Any]:
    """Describe a valid token for introspection (RFC 7662 section 2.2)."""
    email = token.person.email if token.person else None
    return {
        "active": True,
        "client_id": token.client_id,
        "token_type": "Bearer",
        "scope": token.scope,
        "username": email,
        "email": email,
        "sub": token.person.get_user_id() if token.person else token.client_id,
        "exp": int(token.issued_at + token.expires_in),
        "iat": int(token.issued_at),
    }


def userinfo(person: Person, *, spoil: str | None) -> UserInfo:
    """Return the claims about a person (OpenID Connect Core 5.1)."""
    claims: dict[str, Any] = {"sub": person.get_user_id(), "name": person.name or person.email}
    if spoil != "no_email":
        claims |= {"email": person.email, "email_verified": spoil != "unverified_email"}
    return UserInfo(**claims)
