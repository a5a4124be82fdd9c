"""Faults C11 to C20: unsolicited responses, moved mailboxes, throttling and expired tokens."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from fixtures.world import eventually
from superimap.db import engine
from superimap.db.accounts import connections, providers, users
from superimap.imap.types import Timeouts
from superimap.testing import WebhookSink
from superimap.testing.chaos.cases.mailbox import age
from tests.integration.chaos.scene import BYSTANDER, FAST, PASSWORD, VICTIM, Scene


async def test_C11_old_uids_in_a_search_are_not_new_mail(scene):
    scene.chaos.add("C11")
    async with scene.watching(VICTIM, BYSTANDER):
        await scene.both_find(4)

    assert await scene.outcomes() == {"delivered": 4}


async def test_C12_unsolicited_responses_hide_no_mail_and_cause_no_endless_wake_ups(scene):
    scene.chaos.add("C12", only=VICTIM)
    async with scene.watching(VICTIM, BYSTANDER):
        await scene.both_find(4)

        assert scene.connections() == 1
        searches = [event for event in scene.imap.log if event.username == VICTIM and "SEARCH" in event.name]
        assert len(searches) < 120, "each answer's noise is the next alarm"


async def test_C13_a_missing_mailbox_is_reported_and_watched_once_it_returns(scene):
    scene.chaos.add("C13 mailbox is gone", only=VICTIM)
    async with scene.watching():
        await scene.wait_for_status("backing_off", reason="NONEXISTENT")
        scene.chaos.clear()
        await scene.both_find(2)
        await scene.wait_for_status("watching")


async def test_C13_a_mailbox_deleted_and_recreated_during_a_session_loses_no_mail(scene):
    account = scene.imap.accounts[VICTIM]
    async with scene.watching(VICTIM, BYSTANDER):
        await scene.both_find(2)
        account.delete("INBOX")
        await scene.wait_for_status("backing_off", reason="NONEXISTENT")
        account.create("INBOX").uidvalidity = 9
        await scene.both_find(4)


async def test_C13_a_renamed_mailbox_resumes_at_its_cursor(scene):
    account = scene.imap.add_account("gil", PASSWORD, gmail=True)
    account.create("[Gmail]/All Mail", special_use="\\All")
    await scene.world.user(scene.partner, "gil", login="gil", password=PASSWORD)

    def deliver(subject: str, mailbox: str) -> None:
        scene.deliver(subject, to="gil")  # in the ledger, and in INBOX, which is not watched here
        scene.imap.deliver("gil", account.inbox.messages[-1].raw, mailbox)

    async with scene.watching("gil"):
        for number in range(20):
            deliver(f"before {number}", "[Gmail]/All Mail")
        await scene.all_found()
        connected = "UPDATE users SET connected_at = connected_at - interval '300 days' WHERE tag = 'gil'"
        await scene.world.rows(connected)
        age(account.mailboxes["[Gmail]/All Mail"], days=100)
        account.rename("[Gmail]/All Mail", "[Gmail]/Alle Nachrichten")
        scene.imap.sessions_of("gil")[0].close()
        deliver("after", "[Gmail]/Alle Nachrichten")
        await scene.all_found()

    assert await scene.outcomes("gil") == {"delivered": 21}, "mail from long ago was read again"


async def test_C13_the_scenario_by_name_renames_the_mailbox(scene):
    account = scene.imap.add_account("gil", PASSWORD, gmail=True)
    account.create("[Gmail]/All Mail", special_use="\\All")
    await scene.world.user(scene.partner, "gil", login="gil", password=PASSWORD)
    scene.chaos.add("C13 mailbox is renamed", only="gil", times=1, to="[Gmail]/Tous")
    async with scene.watching():
        await eventually(
            lambda: scene.world.value("SELECT count(*) > 0 FROM mailboxes WHERE name LIKE '%Tous'")
        )
        await scene.wait_until_idling("gil")
        scene.deliver("after", to="gil")  # in the ledger, and in INBOX, which is not watched here
        scene.imap.deliver("gil", account.inbox.messages[-1].raw, "[Gmail]/Tous")
        await scene.all_found()

    assert await scene.outcomes("gil") == {"delivered": 1}


async def test_C14_mail_moved_away_at_once_leaves_no_trace(scene):
    scene.chaos.add("C14", only=VICTIM, times=5)
    async with scene.watching():
        await scene.both_find(5)

        assert scene.connections() == 1
    assert scene.chaos.struck("C14") == 5
    assert (await scene.outcomes())["delivered"] == 5


async def test_C15_too_many_connections_counts_as_throttling(scene):
    scene.chaos.add("C15", only=VICTIM)
    async with scene.watching():
        reason = await scene.wait_for_status("throttled", reason="Too many simultaneous connections")

        assert "next attempt in" in reason
        scene.chaos.clear()
        await scene.both_find(1)
        await scene.wait_for_status("watching")


@pytest.mark.parametrize("at", ["LOGIN", "EXAMINE", "UID SEARCH"])
async def test_C16_the_backoff_time_that_the_server_suggests_is_respected(scene, at):
    scene.timing = dataclasses.replace(FAST, throttled=0.0)
    scene.chaos.add("C16", only=VICTIM, times=1, ms=700, at=at)
    began = time.monotonic()
    async with scene.watching():
        reason = await scene.wait_for_status("throttled", reason="Suggested Backoff Time: 700")
        assert "next attempt in 1 s" in reason
        await scene.both_find(1)

    assert scene.chaos.log[0].at + 0.7 < time.monotonic()
    assert time.monotonic() - began > 0.7
    logins = [event.at for event in scene.imap.log if event.username == VICTIM and event.name == "EXAMINE"]
    assert not [at for at in logins if scene.chaos.log[0].at < at < scene.chaos.log[0].at + 0.65]


@pytest.mark.parametrize("case", ["C16", "C17 throttled"])
async def test_C16_C17_a_throttled_fetch_makes_no_mail_unreadable(scene, case):
    scene.timing = dataclasses.replace(FAST, throttled=0.02)
    scene.chaos.add(case, only=VICTIM, times=8, at="UID FETCH", **({"ms": 20} if case == "C16" else {}))
    async with scene.watching():
        await scene.both_find(2)
        await scene.wait_for_status("watching")

    assert scene.chaos.struck(case) == 8
    assert await scene.outcomes() == {"delivered": 2}


async def test_C17_answers_delayed_by_thirty_seconds_are_awaited(scene):
    assert Timeouts().command > 31
    assert Timeouts().login > 31
    scene.chaos.add("C17 throttled by delays", only=VICTIM, times=4, seconds=0.3)
    async with scene.watching():
        await scene.both_find(1)

        assert scene.connections() == 1


async def test_C18_overquota_is_harmless(scene):
    scene.chaos.add("C18", only=VICTIM)
    async with scene.watching(VICTIM, BYSTANDER):
        await scene.both_find()
        await scene.wait_for_status("watching")

        assert scene.connections() == 1


async def test_C19_authenticated_but_not_connected_does_not_count_as_refused_credentials(scene):
    scene.chaos.add("C19", only=VICTIM, times=6)
    async with scene.watching():
        await scene.wait_for_status("backing_off", reason="not connected")
        await scene.both_find(1)
        await scene.wait_for_status("watching")


class Tokens:
    """A token endpoint, and the mail server's account that accepts its tokens."""

    def __init__(self, scene: Scene, sink: WebhookSink) -> None:
        self.account = scene.imap.add_account("olive@example.com", "")
        self.given = 0
        self.refusal: str | None = None
        self.answer = 200
        sink.on("/token", self._give)

    def _give(self, _received: object) -> web.Response:
        if self.refusal:
            return web.json_response({"error": self.refusal}, status=400)
        self.given += 1
        token = f"token-{self.given}"
        self.account.tokens.add(token)
        fields = {"access_token": token, "expires_in": 3600, "refresh_token": f"refresh-{self.given}"}
        return web.json_response(fields)


@pytest_asyncio.fixture
async def tokens(scene: Scene) -> AsyncIterator[Tokens]:
    async with WebhookSink() as sink:
        await _oauth_user(scene, sink.url("/token"))
        yield Tokens(scene, sink)


async def _oauth_user(scene: Scene, token_url: str) -> None:
    world = scene.world
    async with engine.sessions(world.database_url) as sessions, sessions.begin() as db:
        provider = await providers.create(
            db, code="OAUTH", title="O", kind="OAUTH2", imap_host=scene.imap.host, imap_port=scene.imap.port,
            imap_tls="none", oauth2_token_url=token_url, oauth2_authorize_url=token_url, oauth2_scope="mail",
        )  # fmt: skip
        fields = {"oauth2_client_id": "id", "oauth2_client_secret": "secret"}
        await connections.create(db, world.vault, scene.partner.partner.id, provider, fields)
        linked = await connections.by_code(db, scene.partner.partner.id, "OAUTH")
        assert linked is not None
        user = {"tag": "olive", "email": "olive@example.com", "oauth2_refresh_token": "refresh-0"}
        await users.create(db, world.vault, linked, user)


async def test_C20_a_token_that_expires_in_an_open_session_is_replaced(scene, tokens):
    scene.chaos.add("C20", only="olive@example.com", times=2)
    async with scene.watching():
        await scene.imap.wait_for(lambda: scene.chaos.struck("C20") == 2)
        await scene.wait_until_idling("olive@example.com")
        scene.deliver("with a new token", to="olive@example.com")
        await scene.all_found()
        await scene.wait_for_status("watching", login="olive")

        assert tokens.given == 3
        scene.bystander_is_undisturbed()


async def test_C20_a_revoked_grant_is_reported_once_and_not_requested_again(scene, tokens):
    async with scene.watching("olive@example.com", BYSTANDER):
        tokens.refusal = "invalid_grant"
        tokens.account.tokens.clear()
        scene.imap.sessions_of("olive@example.com")[0].close()
        reason = await scene.wait_for_status("authentication_failed", login="olive")

        assert "invalid_grant" in reason
        assert scene.imap.failed_logins == 1
        scene.bystander_is_undisturbed()


async def test_C20_a_failed_token_request_is_repeated(scene, tokens):
    tokens.refusal = "temporarily_unavailable"
    async with scene.watching():
        await scene.wait_for_status("backing_off", login="olive", reason="temporarily_unavailable")
        tokens.refusal = None
        scene.deliver("as soon as there is a token", to="olive@example.com")
        await scene.all_found()
        await scene.wait_for_status("watching", login="olive")

        assert scene.imap.failed_logins == 0
        scene.bystander_is_undisturbed()
