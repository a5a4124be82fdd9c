"""Consents that fail at the provider, and the reason that the partner receives."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from superimap.api.routes import callback
from superimap.testing.oauth.faults import FAULTS
from tests.integration.connect.conftest import (
    ANN,
    APP,
    connect_by_consent,
    consent,
    hidden_fields,
    press_continue,
    result_of,
)
from tests.integration.connect.test_password import FORM

SIGN_IN = {
    "OAUTH": {"oauth2_refresh_token": "rt-of-bob"},
    "GMAIL": {"login_username": "bob@example.com", "login_password": "horse of bob"},
}
PAGE = Path(__file__).parents[3] / "docs/api.md"
TABLE = PAGE.read_text().partition("### Consent failures")[2].partition("\nA user with")[0]
ROWS = re.findall(r"^\| [^|]+ \| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", TABLE, re.M)
FAILURES = {name: reason.strip("`") for name, where, reason in ROWS if where == "`failure_url`"}
PAGES = {name: where for name, where, reason in ROWS if reason == "–"}


def test_the_docs_list_every_consent_failure():
    assert {*FAILURES, *PAGES} | {"consent_required", "userinfo_error", "revoke_error"} == {*FAULTS}
    assert set(PAGES.values()) == {"an error page, 400"}  # by test_40 in test_consent.py, one by one


@pytest.mark.parametrize("fault", FAILURES)
async def test_a_failing_provider_connects_no_user_and_the_partners_page_gets_the_reason(
    scene, fault, caplog, monkeypatch
):
    caplog.set_level(logging.DEBUG)
    shown = await scene.user(email=ANN) if fault == "wrong_account" else await scene.user()
    scene.provider.faults.arm(fault, times=None if fault == "no_email" else 1)

    async with scene.browser() as http:
        back = await consent(http, shown["connect_url"])
        if fault == "hang":
            monkeypatch.setattr(callback, "PROVIDER_TIMEOUT_SECONDS", 0.2)
        answer = await http.get(back)
        monkeypatch.undo()
        assert await scene.delivery_contents() == []
        scene.provider.faults.clear()
        again = await connect_by_consent(http, shown["connect_url"])

    assert set(scene.provider.faults.struck) == {fault}
    assert answer.headers["location"].startswith(f"{APP}/failed?")
    assert result_of(answer) == {
        "superimap_result": "failure",
        "superimap_reason": FAILURES[fault],
        "user_tag": "ann",
    }
    assert result_of(again)["superimap_result"] == "success", "the link is still valid"
    assert len(await scene.delivery_contents()) == 1
    ours = "\n".join(str(vars(each)) for each in caplog.records if each.name.startswith("superimap"))
    secrets = {value for values in parse_qs(urlsplit(back).query).values() for value in values}
    assert not [each for each in secrets | {"cl13nt-s3cret"} if len(each) > 15 and each in ours]


async def test_without_an_address_from_the_provider_the_address_set_by_the_partner_is_used(scene):
    await scene.rows("UPDATE providers SET oauth2_jwks_url = NULL, oauth2_userinfo_url = NULL")
    known, unknown = await scene.user(email=ANN), await scene.user(tag="bob")

    async with scene.browser() as http:
        with_one = await connect_by_consent(http, known["connect_url"])
        without = await connect_by_consent(http, unknown["connect_url"])

    assert result_of(with_one)["superimap_result"] == "success"
    assert result_of(without)["superimap_reason"] == "no_address"


async def test_a_forbidden_provider_is_reported_like_an_unreachable_one(scene):
    shown = await scene.user()
    scene.forbid_loopback()

    async with scene.browser() as http:
        answer = await connect_by_consent(http, shown["connect_url"])

    assert result_of(answer)["superimap_reason"] == "provider_unavailable"
    assert scene.provider.count("/token") == 0


async def test_42_an_account_other_than_the_expected_one_is_refused(scene):
    shown = await scene.user(email=ANN.upper())
    async with scene.browser() as http:
        scene.provider.faults.arm("wrong_account")
        other = await connect_by_consent(http, shown["connect_url"])
        assert (await scene.read_user())["connected_at"] is None
        right = await connect_by_consent(http, shown["connect_url"])

    assert result_of(other)["superimap_reason"] == "wrong_account"
    assert result_of(right)["superimap_result"] == "success"
    assert (await scene.read_user())["email"] == ANN.upper(), "the partner's spelling is kept"


async def test_an_account_of_another_user_is_refused(scene):
    await scene.user(tag="bob", email=ANN)
    shown = await scene.user()

    async with scene.browser() as http:
        answer = await connect_by_consent(http, shown["connect_url"])

    assert result_of(answer)["superimap_reason"] == "address_taken"


@pytest.mark.parametrize("code", ["OAUTH", "GMAIL"])
async def test_a_partner_at_its_quota_gets_the_reason_and_the_person_a_link_that_is_still_valid(scene, code):
    await scene.user(code, tag="bob", email="bob@example.com", **SIGN_IN[code])
    shown = await scene.user(code)
    await scene.rows("INSERT INTO partner_quotas SELECT id, 'sessions', 1 FROM partners")

    async def connect(http):
        if code == "OAUTH":
            return await connect_by_consent(http, shown["connect_url"])
        form = hidden_fields((await http.get(shown["connect_url"])).text)
        return await http.post(FORM, data={**form, "username": ANN, "password": "right horse"})

    async with scene.browser() as http:
        refused = await connect(http)
        await scene.rows("DELETE FROM partner_quotas")
        again = await connect(http)

    assert result_of(refused)["superimap_reason"] == "quota_exceeded"
    assert result_of(again)["superimap_result"] == "success"


async def test_a_connection_without_a_client_gives_the_reason_client(scene):
    shown = await scene.user()
    await scene.rows("UPDATE connections SET oauth2_client_secret = NULL")

    async with scene.browser() as http:
        answer = await press_continue(http, shown["connect_url"])

    assert result_of(answer)["superimap_reason"] == "client"


async def test_connecting_again_restores_an_archived_user_and_keeps_its_cursor(scene):
    await scene.user(email=ANN, oauth2_refresh_token="old")
    await scene.rows("UPDATE users SET archived = true, status = 'archived', connected_at = '2026-01-01'")
    await scene.rows(
        "INSERT INTO mailboxes (partner_id, user_id, account, name, uid_validity, last_uid)"
        " SELECT partner_id, id, email, 'INBOX', 7, 42 FROM users"
    )
    shown = await scene.read_user()

    async with scene.browser() as http:
        assert (
            result_of(await connect_by_consent(http, shown["connect_url"]))["superimap_result"] == "success"
        )

    (user,) = await scene.rows("SELECT * FROM users")
    assert (user["archived"], user["status"]) == (False, "connecting")
    assert user["connected_at"].year == 2026
    assert user["connected_at"].month == 1
    assert (await scene.rows("SELECT last_uid FROM mailboxes"))[0]["last_uid"] == 42


async def test_two_concurrent_callbacks_of_one_link_connect_once(scene):
    shown = await scene.user()
    async with scene.browser() as http:
        backs = [await consent(http, shown["connect_url"]) for _ in range(2)]

        answers = await asyncio.gather(*(http.get(back) for back in backs))

    assert sorted(answer.status_code for answer in answers) == [303, 410]
    assert len(await scene.delivery_contents()) == 1
