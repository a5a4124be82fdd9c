"""Disconnect links: confirmation, deletion of credentials, and revocation."""

from __future__ import annotations

import pytest

from superimap.api.routes import disconnect
from tests.integration.connect.conftest import ANN, APP, connect_by_consent, hidden_fields, result_of

FORM = "/users/disconnect"


@pytest.fixture
async def connected(scene):
    """The scene, with Ann connected by consent."""
    shown = await scene.user()
    async with scene.browser() as http:
        await connect_by_consent(http, shown["connect_url"])
    scene.rung.clear()
    return scene


async def test_opening_a_disconnect_link_changes_nothing(connected):
    async with connected.browser() as http:
        answer = await http.get((await connected.read_user())["disconnect_url"])

    assert answer.status_code == 200
    assert "Disconnect your mailbox?" in answer.text
    assert ANN in answer.text
    assert (await connected.read_user())["connected_at"] is not None


async def test_confirming_deletes_the_credentials_records_a_webhook_and_revokes_the_token(connected):
    token = await connected.secret("oauth2_refresh_token")
    async with connected.browser() as http:
        page = await http.get((await connected.read_user())["disconnect_url"])
        answer = await http.post(FORM, data=hidden_fields(page.text))

    assert answer.headers["location"].startswith(f"{APP}/ok?page=1&")
    assert result_of(answer)["superimap_result"] == "success"
    (user,) = await connected.rows("SELECT * FROM users")
    for name in ("email", "oauth2_refresh_token", "oauth2_access_token", "connected_at"):
        assert user[name] is None, name
    assert (user["status"], user["archived"], user["tag"]) == ("not_connected", False, "ann")
    event = (await connected.delivery_contents())[-1]
    assert (event["kind"], event["user_tag"]) == ("user_disconnected", "ann")
    assert len(connected.rung) == 1
    assert connected.provider.records.by_refresh(token).refresh_revoked
    entries = await connected.rows("SELECT * FROM audit_log WHERE actor_kind = 'link' ORDER BY id")
    assert [entry["action"] for entry in entries] == [
        "user.connect", "user.update", "user.disconnect", "user.update",
    ]  # fmt: skip
    assert {entry["actor"] for entry in entries} == {str(user["id"])}
    assert {"email", "oauth2_refresh_token"} <= set(entries[1]["fields"])
    assert token not in str(entries)


async def test_a_provider_without_a_revocation_url_is_not_asked(connected):
    token = await connected.secret("oauth2_refresh_token")
    await connected.rows("UPDATE providers SET oauth2_revoke_url = NULL")
    async with connected.browser() as http:
        page = await http.get((await connected.read_user())["disconnect_url"])
        answer = await http.post(FORM, data=hidden_fields(page.text))

    assert result_of(answer)["superimap_result"] == "success"
    assert await connected.secret("oauth2_refresh_token") is None
    assert not connected.provider.records.by_refresh(token).refresh_revoked


@pytest.mark.parametrize("fault", ["revoke_error", "hang"])
async def test_a_failed_revocation_does_not_prevent_disconnecting(connected, fault, monkeypatch):
    connected.provider.faults.arm(fault)
    if fault == "hang":  # which its token endpoint does
        monkeypatch.setattr(disconnect, "REVOKE_TIMEOUT_SECONDS", 0.2)
        await connected.rows("UPDATE providers SET oauth2_revoke_url = oauth2_token_url")
    async with connected.browser() as http:
        page = await http.get((await connected.read_user())["disconnect_url"])
        answer = await http.post(FORM, data=hidden_fields(page.text))

    assert connected.provider.faults.struck == [fault]
    assert result_of(answer)["superimap_result"] == "success"
    assert (await connected.read_user())["connected_at"] is None


async def test_46_a_form_from_another_site_disconnects_no_user(connected):
    async with connected.browser() as http, connected.browser() as other:
        page = await http.get((await connected.read_user())["disconnect_url"])
        answer = await other.post(FORM, data=hidden_fields(page.text))

    assert answer.status_code == 403
    assert (await connected.read_user())["connected_at"] is not None


async def test_44_a_disconnect_link_works_once(connected):
    async with connected.browser() as http:
        page = await http.get((await connected.read_user())["disconnect_url"])
        form = hidden_fields(page.text)
        await http.post(FORM, data=form)
        again = await http.post(FORM, data=form)

    assert again.status_code == 410
    assert [event["kind"] for event in await connected.delivery_contents()] == [
        "user_connected",
        "user_disconnected",
    ]


async def test_a_connect_link_does_not_disconnect(connected):
    async with connected.browser() as http:
        page = await http.get((await connected.read_user())["disconnect_url"])
        link = (await connected.read_user())["connect_url"].replace("/connect/", "/disconnect/")

        assert page.status_code == 200
        assert (await http.get(link)).status_code == 404
        assert (await http.get("/users/disconnect")).status_code == 405


async def test_disconnecting_deletes_a_password_too(scene):
    shown = await scene.user("GMAIL", email=ANN, login_username=ANN, login_password="right horse")
    async with scene.browser() as http:
        page = await http.get(shown["disconnect_url"])
        await http.post(FORM, data=hidden_fields(page.text))

    (user,) = await scene.rows("SELECT * FROM users")
    for name in ("email", "login_username", "login_password", "connected_at"):
        assert user[name] is None, name
