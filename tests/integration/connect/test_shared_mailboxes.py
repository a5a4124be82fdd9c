"""A shared mailbox: one account consents, another address is watched."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from fixtures.world import running
from superimap.core.environment import load_settings
from superimap.launch import services
from tests.integration.connect.conftest import (
    ANN,
    Scene,
    connect_by_consent,
    hidden_fields,
    press_continue,
    result_of,
)
from tests.support.api import KEY

SALES = "sales@example.com"


async def test_the_account_that_is_named_consents_for_the_shared_mailbox(scene: Scene):
    shown = await scene.user(tag="sales", email=SALES, sign_in_email=ANN)

    async with scene.browser() as http:
        page = (await http.get(shown["connect_url"])).text
        opened = await press_continue(http, shown["connect_url"])
        answer = await connect_by_consent(http, shown["connect_url"])

    assert SALES in page and ANN in page
    assert parse_qs(urlsplit(opened.headers["location"]).query)["login_hint"] == [ANN]
    assert result_of(answer)["superimap_result"] == "success"
    after = await scene.read_user(tag="sales")
    assert (after["email"], after["sign_in_email"], after["status"]) == (SALES, ANN, "connecting")
    (event,) = await scene.delivery_contents()
    assert (event["user_tag"], event["email"]) == ("sales", SALES)


async def test_another_account_connects_nobody(scene: Scene):
    shown = await scene.user(tag="sales", email=SALES, sign_in_email="bob@example.com")

    async with scene.browser() as http:
        answer = await connect_by_consent(http, shown["connect_url"])

    assert result_of(answer)["superimap_reason"] == "wrong_account"
    assert (await scene.read_user(tag="sales"))["connected_at"] is None


async def test_the_session_opens_the_shared_mailbox_with_the_token_of_the_account(
    scene: Scene, redis_url: str
):
    scene.imap.opens_for = lambda user, token: scene.provider.opens_for(token, ANN) if user == SALES else 0.0
    scene.imap.add_account(SALES, "unused")
    shown = await scene.user(tag="sales", email=SALES, sign_in_email=ANN)
    async with scene.browser() as http:
        await connect_by_consent(http, shown["connect_url"])

    values = {"environment": "development", "redis_url": redis_url, "encryption_key": KEY, "drain_seconds": 0}
    async with running(services.run_idler, load_settings({"database_url": scene.database_url, **values})):
        await scene.imap.wait_for(lambda: any(session.idling for session in scene.imap.sessions))

    assert (await scene.read_user(tag="sales"))["status"] == "watching"


async def test_after_disconnecting_the_person_connects_the_shared_mailbox_again_and_never_their_own(
    scene: Scene,
):
    shown = await scene.user(tag="sales", email=SALES, sign_in_email=ANN)
    async with scene.browser() as http:
        await connect_by_consent(http, shown["connect_url"])
        asked = await http.get((await scene.read_user(tag="sales"))["disconnect_url"])
        await http.post("/users/disconnect", data=hidden_fields(asked.text))
        after = await scene.read_user(tag="sales")
        await scene.rows("DELETE FROM used_links")  # the new link is of the same second, so it is the same
        again = await connect_by_consent(http, after["connect_url"])

    assert (after["email"], after["sign_in_email"], after["status"]) == (SALES, ANN, "not_connected")
    assert result_of(again)["superimap_result"] == "success"
    assert (await scene.read_user(tag="sales"))["email"] == SALES


async def test_the_address_of_a_shared_mailbox_cannot_be_taken_away(scene: Scene):
    await scene.user(tag="sales", email=SALES, sign_in_email=ANN)
    path = "/api/v1/connections/OAUTH/users/sales"

    async with scene.browser() as http:
        http.headers["x-api-key"] = scene.api_key
        refused = await http.put(path, json={"email": None})
        both = await http.put(path, json={"email": None, "sign_in_email": None})

    assert [each["field"] for each in refused.json()["errors"]] == ["email"]
    assert (refused.status_code, both.status_code) == (422, 200)


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"sign_in_email": ANN}, "email"), ({"email": SALES, "sign_in_email": "ann"}, "sign_in_email")],
)
async def test_a_shared_mailbox_needs_both_addresses(scene: Scene, fields: dict[str, str], named: str):
    async with scene.browser() as http:
        http.headers["x-api-key"] = scene.api_key
        answer = await http.post("/api/v1/connections/OAUTH/users", json={"tag": "sales", **fields})

    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [named]


async def test_an_account_can_sign_in_for_several_mailboxes_and_its_own(scene: Scene):
    made = [
        await scene.user(tag="ann", email=ANN),
        await scene.user(tag="sales", email=SALES, sign_in_email=ANN),
        await scene.user(tag="help", email="help@example.com", sign_in_email=ANN),
    ]

    for shown in made:
        async with scene.browser() as http:
            answer = await connect_by_consent(http, shown["connect_url"])
        assert result_of(answer)["superimap_result"] == "success"

    rows = await scene.rows(
        "SELECT count(DISTINCT oauth2_refresh_token) FROM users WHERE connected_at IS NOT NULL"
    )
    assert rows[0][0] == 3
