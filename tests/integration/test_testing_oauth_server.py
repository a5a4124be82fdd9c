"""The fake authorization server follows OAuth 2.0, and breaks it only when a fault is armed."""

import secrets
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwk, jwt
from joserfc.errors import BadSignatureError

from superimap.testing.oauth.faults import (
    CONSENT_FAULTS,
    FAULTS,
    OTHER_FAULTS,
    TOKEN_CONTENT_FAULTS,
    TOKEN_ENDPOINT_FAULTS,
    UnknownFault,
)
from superimap.testing.oauth.server import OAuthServer

BACK = "https://app.example.com/callback"
ANN = "ann@example.com"


class Dance:
    """A client that builds its requests by hand."""

    def __init__(self, provider: OAuthServer, http: httpx.AsyncClient) -> None:
        self.provider = provider
        self.http = http
        self.client = provider.add_client(BACK)
        self.verifier = secrets.token_urlsafe(48)

    async def consent(self, **extra: str) -> dict[str, str]:
        """The parameters that the consent page returns."""
        asked = {
            "response_type": "code", "client_id": self.client.client_id, "redirect_uri": BACK, "nonce": "n-1",
            "scope": "openid email mail", "state": "st-1", "code_challenge_method": "S256",
            "code_challenge": create_s256_code_challenge(self.verifier), **extra,
        }  # fmt: skip
        answer = await self.http.get(self.provider.url("/authorize"), params=asked)
        assert answer.status_code == 302, answer.text
        assert answer.headers["location"].startswith(BACK + "?")
        return {
            name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()
        }

    async def token(self, **form: str) -> httpx.Response:
        secret = (self.client.client_id, self.client.client_secret)
        return await self.http.post(self.provider.url("/token"), data=form, auth=secret)

    async def exchange(self, code: str, **extra: str) -> httpx.Response:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, **extra}
        return await self.token(**{"code_verifier": self.verifier, **form})

    async def refresh(self, token: str) -> httpx.Response:
        return await self.token(grant_type="refresh_token", refresh_token=token)


@pytest.fixture
async def dance() -> AsyncIterator[Dance]:
    async with OAuthServer(consents=ANN, rotates=True) as provider, httpx.AsyncClient(timeout=5) as http:
        provider.add_person(ANN)
        yield Dance(provider, http)


async def test_a_consent_yields_tokens_and_a_signed_identity(dance: Dance) -> None:
    back = await dance.consent()

    given = (await dance.exchange(back["code"])).json()
    keys = jwk.KeySet.import_key_set((await dance.http.get(dance.provider.url("/jwks"))).json())
    claims = jwt.decode(given["id_token"], keys).claims

    assert back["state"] == "st-1"
    assert claims["email"] == ANN and claims["email_verified"] is True and claims["nonce"] == "n-1"
    assert dance.provider.opens(given["access_token"], ANN)
    assert not dance.provider.opens(given["access_token"], "bob@example.com")


async def test_a_code_is_valid_once_and_only_with_its_verifier(dance: Dance) -> None:
    code = (await dance.consent())["code"]

    stolen = await dance.exchange(code, code_verifier="x" * 64)
    first = await dance.exchange(code)
    second = await dance.exchange(code)

    assert (stolen.status_code, first.status_code, second.status_code) == (400, 200, 400)


async def test_a_rotated_refresh_token_is_invalid_after_its_use(dance: Dance) -> None:
    old = dance.provider.grant(ANN).refresh_token or ""

    first, second = await dance.refresh(old), await dance.refresh(old)
    third = await dance.refresh(first.json()["refresh_token"])

    assert (first.status_code, second.status_code, third.status_code) == (200, 400, 200)
    assert second.json()["error"] == "invalid_grant"


async def test_revocation_invalidates_tokens_and_introspection_reports_it(dance: Dance) -> None:
    token = dance.provider.grant(ANN)
    secret = (dance.client.client_id, dance.client.client_secret)

    async def look() -> dict[str, object]:
        form = {"token": token.access_token}
        answer = await dance.http.post(dance.provider.url("/introspect"), data=form, auth=secret)
        return dict(answer.json())

    before = await look()
    form = {"token": token.refresh_token or ""}
    await dance.http.post(dance.provider.url("/revoke"), data=form, auth=secret)

    assert before["active"] is True and before["username"] == ANN
    assert await look() == {"active": False}


async def test_an_unregistered_redirect_uri_is_never_followed(dance: Dance) -> None:
    asked = {"response_type": "code", "client_id": "client", "redirect_uri": "https://evil.example/"}

    answer = await dance.http.get(dance.provider.url("/authorize"), params=asked)

    assert answer.status_code == 400 and "location" not in answer.headers


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("denied", {"error": "access_denied"}),
        ("unavailable", {"error": "temporarily_unavailable"}),
    ],
)
async def test_the_consent_page_can_return_an_error(dance: Dance, fault: str, seen: dict[str, str]) -> None:
    dance.provider.faults.arm(fault)

    back = await dance.consent()

    assert seen.items() <= back.items() and back["state"] == "st-1" and "code" not in back


async def test_the_consent_page_can_return_a_wrong_state_code_or_account(dance: Dance) -> None:
    for fault in ("wrong_state", "no_state", "wrong_code", "wrong_account"):
        dance.provider.faults.arm(fault)
    wrong, none, code, account = [await dance.consent() for _ in range(4)]

    assert wrong["state"] != "st-1" and "state" not in none
    assert (await dance.exchange(code["code"])).json()["error"] == "invalid_grant"
    given = (await dance.exchange(account["code"])).json()
    assert dance.provider.opens(given["access_token"], "somebody.else@example.com")


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        ("invalid_grant", 400, "invalid_grant"),
        ("invalid_client", 401, "invalid_client"),
        ("consent_required", 400, "interaction_required"),
        ("unauthorized_client", 400, "unauthorized_client"),
        ("throttled", 429, "slow_down"),
        ("unready", 503, "temporarily_unavailable"),
        ("server_error", 500, None),
        ("garbage", 200, None),
        ("no_token", 200, None),
        ("huge", 200, None),
        ("redirect", 302, None),
    ],
)
async def test_the_token_endpoint_fails_once_and_then_succeeds(
    dance: Dance, fault: str, status: int, error: str | None
) -> None:
    token = dance.provider.grant(ANN).refresh_token or ""
    dance.provider.faults.arm(fault)

    broken, good = await dance.refresh(token), await dance.refresh(token)

    assert broken.status_code == status and good.status_code == 200
    assert error is None or broken.json()["error"] == error
    assert dance.provider.faults.struck == [fault]


async def test_a_hanging_token_endpoint_never_answers(dance: Dance) -> None:
    dance.provider.faults.arm("hang")

    with pytest.raises(httpx.ReadTimeout):
        await dance.http.post(dance.provider.url("/token"), data={}, timeout=0.2)


async def test_tokens_can_lack_required_content(dance: Dance) -> None:
    made = {}
    for fault in sorted(TOKEN_CONTENT_FAULTS):
        dance.provider.faults.arm(fault)
        made[fault] = (await dance.exchange((await dance.consent())["code"])).json()
    keys = jwk.KeySet.import_key_set((await dance.http.get(dance.provider.url("/jwks"))).json())

    assert "refresh_token" not in made["no_refresh_token"]
    assert made["no_mail_scope"]["scope"] == "openid email"
    assert "email" not in jwt.decode(made["no_email"]["id_token"], keys).claims
    assert jwt.decode(made["unverified_email"]["id_token"], keys).claims["email_verified"] is False
    assert jwt.decode(made["other_audience"]["id_token"], keys).claims["aud"] == ["another-client"]
    assert jwt.decode(made["other_nonce"]["id_token"], keys).claims["nonce"] == "another-nonce"
    with pytest.raises(BadSignatureError):
        jwt.decode(made["forged_id_token"]["id_token"], keys)


def test_every_fault_belongs_to_one_place_and_an_unknown_name_raises() -> None:
    server = OAuthServer()

    assert FAULTS.keys() == CONSENT_FAULTS | TOKEN_ENDPOINT_FAULTS | TOKEN_CONTENT_FAULTS | OTHER_FAULTS
    with pytest.raises(UnknownFault, match="invalid_grant"):
        server.faults.arm("invalid_grunt")
