"""A link that asks before it does anything, and then forgets what opened the mailbox."""

from __future__ import annotations

import pytest

from superimap.api.routes import disconnect
from tests.integration.connect.conftest import ANN, APP, danced, fields_of, told

FORM = "/users/disconnect"


@pytest.fixture
async def connected(scene):
    """The scene, with Ann connected by consent."""
    shown = await scene.user()
    async with scene.browser() as http:
        await danced(http, shown["connect_url"])
    scene.rung.clear()
    return scene


async def test_opening_the_link_asks_and_changes_nothing(connected):
    async with connected.browser() as http:
        answer = await http.get((await connected.shown())["disconnect_url"])

    assert answer.status_code == 200
    assert "Disconnect your mailbox?" in answer.text
    assert ANN in answer.text
    assert (await connected.shown())["connected_at"] is not None


async def test_the_answer_forgets_the_credentials_tells_the_partner_and_revokes_at_the_provider(connected):
    token = await connected.secret("oauth2_refresh_token")
    async with connected.browser() as http:
        page = await http.get((await connected.shown())["disconnect_url"])
        answer = await http.post(FORM, data=fields_of(page.text))

    assert answer.headers["location"].startswith(f"{APP}/ok?page=1&")
    assert told(answer)["superimap_result"] == "success"
    (user,) = await connected.rows("SELECT * FROM users")
    for name in ("email", "oauth2_refresh_token", "oauth2_access_token", "connected_at"):
        assert user[name] is None, name
    assert (user["status"], user["archived"], user["tag"]) == ("not_connected", False, "ann")
    event = (await connected.owed())[-1]
    assert (event["kind"], event["user_tag"]) == ("user_disconnected", "ann")
    assert len(connected.rung) == 1
    assert connected.provider.records.by_refresh(token).refresh_revoked


async def test_a_provider_without_an_address_for_it_is_asked_nothing(connected):
    token = await connected.secret("oauth2_refresh_token")
    await connected.rows("UPDATE providers SET oauth2_revoke_url = NULL")
    async with connected.browser() as http:
        page = await http.get((await connected.shown())["disconnect_url"])
        answer = await http.post(FORM, data=fields_of(page.text))

    assert told(answer)["superimap_result"] == "success"
    assert await connected.secret("oauth2_refresh_token") is None
    assert not connected.provider.records.by_refresh(token).refresh_revoked


@pytest.mark.parametrize("fault", ["revoke_error", "hang"])
async def test_a_provider_that_will_not_revoke_changes_nothing_about_it(connected, fault, monkeypatch):
    monkeypatch.setattr(disconnect, "REVOKE_TIMEOUT_SECONDS", 0.2)
    connected.provider.faults.arm(fault)
    if fault == "hang":  # which its token endpoint does
        await connected.rows("UPDATE providers SET oauth2_revoke_url = oauth2_token_url")
    async with connected.browser() as http:
        page = await http.get((await connected.shown())["disconnect_url"])
        answer = await http.post(FORM, data=fields_of(page.text))

    assert connected.provider.faults.struck == [fault]
    assert told(answer)["superimap_result"] == "success"
    assert (await connected.shown())["connected_at"] is None


async def test_46_a_form_from_elsewhere_disconnects_nobody(connected):
    async with connected.browser() as http, connected.browser() as other:
        page = await http.get((await connected.shown())["disconnect_url"])
        answer = await other.post(FORM, data=fields_of(page.text))

    assert answer.status_code == 403
    assert (await connected.shown())["connected_at"] is not None


async def test_44_the_link_serves_once(connected):
    async with connected.browser() as http:
        page = await http.get((await connected.shown())["disconnect_url"])
        form = fields_of(page.text)
        await http.post(FORM, data=form)
        again = await http.post(FORM, data=form)

    assert again.status_code == 410
    assert [event["kind"] for event in await connected.owed()] == ["user_connected", "user_disconnected"]


async def test_a_connect_link_disconnects_nobody(connected):
    async with connected.browser() as http:
        page = await http.get((await connected.shown())["disconnect_url"])
        link = (await connected.shown())["connect_url"].replace("/connect/", "/disconnect/")

        assert page.status_code == 200
        assert (await http.get(link)).status_code == 404
        assert (await http.get("/users/disconnect")).status_code == 405


async def test_a_password_is_forgotten_too(scene):
    shown = await scene.user("GMAIL", email=ANN, login_username=ANN, login_password="right horse")
    async with scene.browser() as http:
        page = await http.get(shown["disconnect_url"])
        await http.post(FORM, data=fields_of(page.text))

    (user,) = await scene.rows("SELECT * FROM users")
    for name in ("email", "login_username", "login_password", "connected_at"):
        assert user[name] is None, name
