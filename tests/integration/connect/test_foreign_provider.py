"""Consents, tokens and service accounts at an OpenID provider that is not ours (oidc-provider)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from fixtures.world import eventually, running
from superimap.core.environment import load_settings
from superimap.db import engine
from superimap.db.accounts import connections, providers
from superimap.domain.users import UserStatus
from superimap.launch import services
from tests.integration.connect.conftest import (
    ANN,
    CALLBACK,
    Scene,
    hidden_fields,
    press_continue,
    result_of,
)
from tests.support.api import KEY
from tests.support.openid_provider import OpenIdProvider, running_provider

pytestmark = pytest.mark.slow

SALES, ADA = "sales@example.com", "ada@corp.example.com"
SECRET = "a secret of acme: 100% + &more="
CLIENT_KEY = ECKey.generate_key("P-256", {"kid": "key of the client"})
DAEMON_KEY = OKPKey.generate_key("Ed25519", auto_kid=True)  # its thumbprint, which a PEM is sent with
SERVICE_KEY = RSAKey.generate_key(2048, {"kid": "key of the service"})
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
BY_AUTH = {
    "client_secret_post": SECRET,
    "client_secret_basic": SECRET,
    "private_key_jwt": json.dumps(CLIENT_KEY.as_dict(private=True)),
}


def clients() -> list[dict[str, Any]]:
    consent = {"redirect_uris": [CALLBACK], "grant_types": ["authorization_code", "refresh_token"]}
    alone = {"redirect_uris": [], "response_types": []}
    key = {"jwks": {"keys": [CLIENT_KEY.as_dict(private=False)]}, "token_endpoint_auth_signing_alg": "ES256"}
    daemon = {
        "jwks": {"keys": [DAEMON_KEY.as_dict(private=False)]},
        "token_endpoint_auth_signing_alg": "EdDSA",
    }
    service = {"jwks": {"keys": [SERVICE_KEY.as_dict(private=False)]}, "token_endpoint_auth_method": "none"}
    return [
        *(
            {"client_id": auth, "token_endpoint_auth_method": auth, **consent}
            | (key if auth == "private_key_jwt" else {"client_secret": SECRET})
            for auth in BY_AUTH
        ),
        {"client_id": "daemon", "token_endpoint_auth_method": "private_key_jwt", **alone, **daemon}
        | {"grant_types": ["client_credentials"]},
        {"client_id": "service", **alone, **service, "grant_types": [JWT_BEARER]},
    ]


@pytest.fixture
async def foreign(tmp_path: Path) -> AsyncIterator[OpenIdProvider]:
    async with running_provider(
        tmp_path, clients=clients(), people=[ANN, "bob@example.com"], organisation=[ADA]
    ) as each:
        yield each


async def connect(scene: Scene, client: str, secret: str, **columns: Any) -> None:
    """Create the provider FOREIGN and the partner's connection to it."""
    async with engine.sessions(scene.database_url) as sessions, sessions.begin() as db:
        row: Any = {"code": "FOREIGN", "title": "Foreign", "kind": "OAUTH2", **columns}
        row |= {"imap_host": scene.imap.host, "imap_port": scene.imap.port, "imap_tls": "none"}
        provider = await providers.create(db, **row)
        partner = (await scene.rows("SELECT id FROM partners"))[0]["id"]
        fields: Any = {"oauth2_client_id": client, "oauth2_client_secret": secret}
        await connections.create(db, scene.app.state.resources.vault, partner, provider, fields)


def key_file(key: RSAKey) -> str:
    """Return the key as Google writes the file of a service account."""
    return json.dumps({"private_key_id": key.kid, "private_key": key.as_pem(private=True).decode()})


async def consent(http: httpx.AsyncClient, link: str) -> httpx.Response:
    """Consent in a browser, with the pages of the provider; return the answer of our callback."""
    answer = await press_continue(http, link)
    for _ in range(12):
        assert "location" in answer.headers, answer.text
        target = urljoin(str(answer.url), answer.headers["location"])
        answer = await http.get(target)
        if target.startswith(CALLBACK):
            return answer
    raise AssertionError(answer)


def idler(scene: Scene, redis_url: str) -> Any:
    values = {"environment": "development", "redis_url": redis_url, "encryption_key": KEY, "drain_seconds": 0}
    return running(services.run_idler, load_settings({"database_url": scene.database_url, **values}))


async def has_status(scene: Scene, tag: str, status: UserStatus) -> None:
    async def is_there() -> bool:
        return bool((await scene.rows("SELECT status FROM users WHERE tag = $1", tag))[0]["status"] == status)

    try:
        await eventually(is_there, within=15)
    except TimeoutError:
        pytest.fail(str(await scene.read_user("FOREIGN", tag)))


@pytest.mark.parametrize("auth", BY_AUTH)
async def test_a_shared_mailbox_is_connected_watched_with_a_refreshed_token_and_revoked(
    scene: Scene, foreign: OpenIdProvider, redis_url: str, auth: str
):
    await connect(scene, auth, BY_AUTH[auth], **foreign.endpoints(oauth2_client_auth=auth))
    scene.imap.opens_for = lambda user, token: foreign.seconds_left(token, ANN) if user == SALES else 0.0
    scene.imap.add_account(SALES, "unused")
    shown = await scene.user("FOREIGN", "sales", email=SALES, sign_in_email=ANN)

    async with scene.browser() as http:
        answer = await consent(http, shown["connect_url"])
        assert result_of(answer)["superimap_result"] == "success"
        given = (await scene.secret("oauth2_access_token"), await scene.secret("oauth2_refresh_token"))
        await scene.rows("UPDATE users SET oauth2_access_token_expires_at = now()")
        async with idler(scene, redis_url):
            await has_status(scene, "sales", UserStatus.WATCHING)
        used = (await scene.secret("oauth2_access_token"), await scene.secret("oauth2_refresh_token"))
        asked = await http.get((await scene.read_user("FOREIGN", "sales"))["disconnect_url"])
        await http.post("/users/disconnect", data=hidden_fields(asked.text))

    assert used[0] != given[0]
    assert foreign.introspect(str(used[1]))["active"] is False
    assert (await scene.read_user("FOREIGN", "sales"))["email"] == SALES


async def test_another_account_than_the_one_that_is_named_connects_nobody(
    scene: Scene, foreign: OpenIdProvider
):
    await connect(scene, "client_secret_post", SECRET, **foreign.endpoints())
    shown = await scene.user("FOREIGN", "sales", email=SALES, sign_in_email=ANN)
    await foreign.sign_in_as("bob@example.com")

    async with scene.browser() as http:
        answer = await consent(http, shown["connect_url"])

    assert result_of(answer)["superimap_reason"] == "wrong_account"
    assert (await scene.read_user("FOREIGN", "sales"))["connected_at"] is None


async def test_a_service_account_opens_mailboxes_of_its_organisation_and_no_other(
    scene: Scene, foreign: OpenIdProvider, redis_url: str
):
    columns = {"oauth2_grant_type": "jwt_bearer", "oauth2_client_auth": "private_key_jwt"}
    columns |= {"oauth2_token_url": foreign.url("/token"), "oauth2_scope": "mail"}
    await connect(scene, "service", key_file(SERVICE_KEY), **columns)
    scene.imap.opens_for = lambda user, token: foreign.seconds_left(token, user)
    scene.imap.add_account(ADA, "unused")
    await scene.user("FOREIGN", "ada", email=ADA)
    await scene.user("FOREIGN", "eve", email="eve@elsewhere.example.com")

    async with idler(scene, redis_url):
        await has_status(scene, "ada", UserStatus.WATCHING)
        await has_status(scene, "eve", UserStatus.AUTHENTICATION_FAILED)

    events = await scene.rows("SELECT kind FROM user_events")
    assert "reauth_required" not in {row["kind"] for row in events}


async def test_a_key_that_the_service_account_does_not_have_opens_nothing(
    scene: Scene, foreign: OpenIdProvider, redis_url: str
):
    columns = {"oauth2_grant_type": "jwt_bearer", "oauth2_client_auth": "private_key_jwt"}
    columns |= {"oauth2_token_url": foreign.url("/token"), "oauth2_scope": "mail"}
    other = RSAKey.generate_key(2048, {"kid": SERVICE_KEY.kid})
    await connect(scene, "service", key_file(other), **columns)
    await scene.user("FOREIGN", "ada", email=ADA)

    async with idler(scene, redis_url):
        await has_status(scene, "ada", UserStatus.AUTHENTICATION_FAILED)

    assert (await scene.read_user("FOREIGN", "ada"))["status_reason"]


async def test_a_client_with_a_key_opens_mailboxes_without_any_person(
    scene: Scene, foreign: OpenIdProvider, redis_url: str
):
    columns = {"oauth2_grant_type": "client_credentials", "oauth2_client_auth": "private_key_jwt"}
    columns |= {"oauth2_token_url": foreign.url("/token"), "oauth2_scope": "mail"}
    await connect(scene, "daemon", DAEMON_KEY.as_pem(private=True).decode(), **columns)
    scene.imap.opens_for = lambda _user, token: 3600.0 if foreign.introspect(token)["active"] else 0.0
    scene.imap.add_account(ADA, "unused")
    await scene.user("FOREIGN", "ada", email=ADA)

    async with idler(scene, redis_url):
        await has_status(scene, "ada", UserStatus.WATCHING)
