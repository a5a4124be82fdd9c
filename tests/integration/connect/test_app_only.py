"""App-only access: an email address connects a user, without consent."""

from __future__ import annotations

import pytest

from superimap.db import engine
from superimap.db.accounts import connections, providers
from superimap.testing import ImapServer
from superimap.testing.oauth.server import OAuthServer
from tests.integration.connect.conftest import Scene, hidden_fields, result_of

TENANT = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490"
CLIENT = {"oauth2_client_id": "client", "oauth2_client_secret": "cl13nt-s3cret"}


@pytest.fixture
async def organisation(scene: Scene, provider: OAuthServer, imap: ImapServer) -> Scene:
    async with engine.sessions(scene.database_url) as sessions, sessions.begin() as db:
        await providers.create(
            db,
            code="APP_ONLY",
            title="An organisation",
            kind="OAUTH2",
            imap_host=imap.host,
            imap_port=imap.port,
            imap_tls="none",
            oauth2_grant_type="client_credentials",
            oauth2_token_url=provider.url("/{tenant}/token"),
            oauth2_scope="mail",
        )
    return scene


async def test_a_connection_names_its_tenant_and_its_users_are_connected_by_an_address(organisation):
    async with organisation.browser() as http:
        http.headers["x-api-key"] = organisation.api_key
        path = "/api/v1/connections"
        lacking = await http.post(path, json={"imap_provider_code": "APP_ONLY", **CLIENT})
        wrong = await http.post(
            path, json={"imap_provider_code": "APP_ONLY", **CLIENT, "oauth2_tenant": "evil.example.com/x"}
        )
        made = await http.post(
            path, json={"imap_provider_code": "APP_ONLY", **CLIENT, "oauth2_tenant": TENANT}
        )

    for refused in (lacking, wrong):
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["field"] == "oauth2_tenant"
    assert made.status_code == 201
    without_address = await organisation.user("APP_ONLY", "nobody")
    ann = await organisation.user(
        "APP_ONLY", "ann", email="ann@example.com", oauth2_refresh_token="passed-over-1"
    )
    assert (without_address["status"], without_address["connected_at"]) == ("not_connected", None)
    assert (ann["status"], ann["connected_at"] is None) == ("connecting", False)
    row = (await organisation.rows("SELECT oauth2_refresh_token FROM users WHERE tag = 'ann'"))[0]
    assert row["oauth2_refresh_token"] is None


async def test_app_only_links_need_no_consent_and_disconnecting_deletes_the_address(organisation):
    scene = organisation
    async with engine.sessions(scene.database_url) as sessions, sessions.begin() as db:
        row = await providers.by_code(db, "APP_ONLY")
        partner = (await scene.rows("SELECT id FROM partners"))[0]["id"]
        fields = {**CLIENT, "oauth2_tenant": TENANT}
        await connections.create(db, scene.app.state.resources.vault, partner, row, fields)
    ann = await scene.user("APP_ONLY", "ann", email="ann@example.com")

    async with scene.browser() as http:
        page = await http.get(ann["connect_url"])
        asked = await http.get(ann["disconnect_url"])
        answer = await http.post("/users/disconnect", data=hidden_fields(asked.text))

    assert page.status_code == 200
    assert "You do not need to consent" in page.text
    assert "<form" not in page.text
    assert await scene.rows("SELECT FROM oauth_states") == []
    assert result_of(answer)["superimap_result"] == "success"
    after = await scene.read_user("APP_ONLY", "ann")
    assert (after["email"], after["status"]) == (None, "not_connected")
