"""Limits of password submissions over all links and partners, and of logins at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import pytest

from superimap.api import login_check
from superimap.api.pages import try_limits
from superimap.api.routes import password
from superimap.core.crypto import Vault
from superimap.db.accounts import connections, partners, providers
from superimap.db.engine import sessions
from superimap.domain.presets import OTHER
from superimap.testing.imap.hooks import hanging
from tests.integration.connect.conftest import ANN, Scene, hidden_fields, result_of
from tests.support.api import KEY

FORM = "/users/connect/password"


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    """Two tries of a partner, five in all. The limits of links and client addresses do not matter here."""
    monkeypatch.setattr(password, "MAX_TRIES_PER_MINUTE", 1000)
    monkeypatch.setattr(try_limits, "MAX_TRIES_PER_MAILBOX_AND_PARTNER", 2)
    monkeypatch.setattr(try_limits, "MAX_TRIES_PER_MAILBOX", 5)


async def another_partner(scene: Scene, name: str, code: str = "GMAIL") -> Scene:
    """Return the scene of another partner with a connection to the same provider."""
    vault = Vault.from_setting(KEY)
    async with sessions(scene.database_url) as owner, owner.begin() as db:
        created = await partners.create(db, vault, name=name)
        row = await providers.by_code(db, code)
        assert row is not None
        await connections.create(db, vault, created.partner.id, row, {})
    return replace(scene, api_key=created.api_key)


async def attempt(
    scene: Scene, tag: str, username: str = ANN, secret: str = "guess", *, code: str = "GMAIL", **fields: str
) -> httpx.Response:
    """A new user of this partner opens their link and submits the form once."""
    server = {name: fields.pop(name) for name in ("host", "port") if name in fields}
    async with scene.browser() as http:
        page = await http.get((await scene.user(code, tag, **fields))["connect_url"])
        typed = {"username": username, "password": secret, **server}
        return await http.post(FORM, data={**hidden_fields(page.text), **typed})


async def test_many_links_give_no_more_tries_for_a_mailbox(scene):
    spellings = [ANN, ANN.upper(), "a.nn@example.com"]
    answers = [await attempt(scene, f"user{at}", name) for at, name in enumerate(spellings)]
    other = await attempt(scene, "bob", "bob@example.com")

    assert [each.status_code for each in answers] == [422, 422, 429]
    assert "Too many attempts for this mailbox. Wait 10 minutes, then try again." in answers[-1].text
    assert answers[-1].headers["retry-after"] == "600"
    assert other.status_code == 422, "another mailbox"
    assert scene.imap.failed_logins == 3


async def test_the_tries_for_a_mailbox_are_limited_over_all_partners(scene):
    everyone = [scene, *[await another_partner(scene, name) for name in ("Globex", "Initech")]]
    answers = [await attempt(each, f"user{at}") for each in everyone for at in range(2)]

    assert [each.status_code for each in answers] == [422] * 5 + [429]
    assert scene.imap.failed_logins == 5


async def test_neither_a_partner_nor_strangers_lock_out_the_owner_of_a_mailbox(scene):
    for at in range(3):
        assert (await attempt(scene, f"stranger{at}")).status_code == (429 if at == 2 else 422)
    globex = await another_partner(scene, "Globex")

    of_another_partner = await attempt(globex, "ann", secret="right horse")
    by_a_link_that_names_her = await attempt(scene, "ann", secret="right horse", email=ANN)

    assert of_another_partner.status_code == 303
    assert result_of(by_a_link_that_names_her)["superimap_result"] == "success"


async def test_the_limit_ends_by_the_clock_of_postgresql_and_its_rows_are_deleted(scene):
    for at in range(2):
        await attempt(scene, f"user{at}")
    counted = len(await scene.rows("SELECT 1 FROM login_tries"))
    await scene.rows("UPDATE login_tries SET ends_at = now() - interval '1 second'")

    answer = await attempt(scene, "bob", "bob@example.com")

    assert answer.status_code == 422
    kept = await scene.rows("SELECT ends_at > now() AS is_current FROM login_tries")
    assert all(row["is_current"] for row in kept)
    assert len(kept) < counted


async def test_logins_that_succeed_do_not_count(scene):
    assert (await attempt(scene, "ann", secret="right horse")).status_code == 303

    assert {row["count"] for row in await scene.rows("SELECT count FROM login_tries")} == {0}


async def test_a_mail_server_is_counted_under_all_of_its_names(scene, monkeypatch):
    monkeypatch.setattr(password, "SERVER_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(try_limits, "MAX_TRIES_PER_NAMED_SERVER_AND_PARTNER", 2)
    async with sessions(scene.database_url) as owner, owner.begin() as db:
        await providers.install_presets(db, [OTHER])
    globex = await another_partner(scene, "Globex", "OTHER")

    async def probe(at: int, host: str) -> httpx.Response:
        return await attempt(globex, f"user{at}", f"user{at}", code="OTHER", host=host, port=str(at + 1))

    answers = [await probe(at, host) for at, host in enumerate(("localhost", "127.0.0.1", "0x7f.1"))]

    assert [each.status_code for each in answers] == [422, 422, 429]
    assert "Too many attempts at this mail server. Wait a minute" in answers[-1].text


async def test_beyond_the_logins_at_once_a_person_is_asked_to_wait(scene, monkeypatch):
    monkeypatch.setattr(login_check, "MAX_LOGINS", 1)
    monkeypatch.setattr(password, "LOGIN_TIMEOUT_SECONDS", 20)
    heal = scene.imap.on("LOGIN", hanging())

    first = asyncio.create_task(attempt(scene, "ann"))
    await scene.imap.wait_for(lambda: scene.imap.sessions)
    second = await attempt(scene, "bob", "bob@example.com", "battery staple")
    counted = await scene.rows("SELECT 1 FROM login_tries")
    first.cancel()
    await asyncio.wait([first])
    heal()
    third = await attempt(scene, "cay", "cay@example.com")

    assert second.status_code == 503
    assert second.headers["retry-after"] == "5"
    assert "Wait a few seconds, then try again." in second.text
    assert 'value="bob@example.com"' in second.text
    assert "battery" not in second.text
    assert len(counted) == 6, "of the first attempt only"
    assert third.status_code == 422
