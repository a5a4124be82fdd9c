"""Providers that an operator changes while people sign in there: nothing of theirs goes to the new place."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from superimap.api.routes import callback, password
from superimap.core.crypto import Place, Vault
from superimap.db.accounts import providers
from superimap.db.accounts.stored_secrets import StoredSecrets
from superimap.db.engine import sessions
from superimap.db.errors import Conflict
from tests.integration.connect.conftest import Scene, connect_by_consent, consent, hidden_fields, result_of
from tests.integration.connect.test_password import FORM, open_form
from tests.support.api import KEY


async def change(scene: Scene, code: str, decision: StoredSecrets | None, **fields: Any) -> None:
    async with sessions(scene.database_url) as sessionmaker, sessionmaker.begin() as db:
        await providers.update(db, code, stored_secrets=decision, **fields)


@pytest.mark.parametrize("field", ["oauth2_token_url", "oauth2_authorize_url", "oauth2_userinfo_url"])
async def test_a_code_is_not_sent_to_a_url_that_was_set_after_the_consent_began(scene, field):
    shown = await scene.user()
    async with scene.browser() as http:
        back = await consent(http, shown["connect_url"])
        await change(scene, "OAUTH", StoredSecrets.KEEP, **{field: scene.provider.url("/elsewhere")})
        answer = await http.get(back)
        paths = [path for _, path in scene.provider.requests]
        await change(scene, "OAUTH", StoredSecrets.KEEP, **{field: scene.provider.url(f"/{field[7:-4]}")})
        again = await connect_by_consent(http, shown["connect_url"])

    assert answer.status_code == 409
    assert "Please open the link again" in answer.text
    assert not {"/elsewhere", "/token"} & {*paths}
    assert result_of(again)["superimap_result"] == "success", "the link is still valid"


async def test_a_token_of_the_previous_provider_is_not_stored_for_the_next_one(scene, monkeypatch):
    shown = await scene.user()
    exchange = callback.exchange_code

    async def slowly(*args: Any, **options: Any) -> Any:
        tokens = await exchange(*args, **options)
        await change(scene, "OAUTH", StoredSecrets.FORGET, oauth2_token_url=scene.provider.url("/elsewhere"))
        return tokens

    monkeypatch.setattr(callback, "exchange_code", slowly)
    async with scene.browser() as http:
        answer = await connect_by_consent(http, shown["connect_url"])

    assert answer.status_code == 409
    assert await scene.secret("oauth2_refresh_token") is None


async def test_a_password_that_one_server_accepted_is_not_stored_for_another(scene, monkeypatch):
    log_in = password.log_in

    async def slowly(*args: Any, **options: Any) -> Any:
        failed = await log_in(*args, **options)
        await change(scene, "GMAIL", None, imap_host="other.example.com")
        return failed

    monkeypatch.setattr(password, "log_in", slowly)
    async with scene.browser() as http:
        form = await open_form(scene, http)
        answer = await http.post(
            FORM, data={**form, "username": "ann@example.com", "password": "right horse"}
        )

    assert answer.status_code == 409
    assert await scene.secret("login_password") is None
    assert not hidden_fields(answer.text)


async def test_an_operators_change_waits_for_secrets_that_are_being_stored(scene):
    await scene.user("GMAIL")
    sealed = Vault.from_setting(KEY).seal_text("right horse", Place("users", "login_password", 1, "1"))
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%users%'"
    async with sessions(scene.database_url) as sessionmaker, sessionmaker() as db:
        connection = await db.connection()
        await connection.exec_driver_sql("UPDATE users SET login_password = $1", (sealed,))
        changing = asyncio.create_task(change(scene, "GMAIL", None, imap_host="other.example.com"))
        async with asyncio.timeout(5):
            while not (await scene.rows(waiting))[0][0]:
                assert not changing.done()
                await asyncio.sleep(0.01)
        await db.commit()

    with pytest.raises(Conflict, match=r"1 user\(s\)"):
        await changing
