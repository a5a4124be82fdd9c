"""Users of OAuth 2.0 providers: a refresh token gives an access token, which opens a session."""

import json
from typing import Any

import pytest
from aiohttp import web

from fixtures.world import World, eventually, running
from superimap.db import engine
from superimap.db.accounts import connections, providers, users
from superimap.launch import services
from superimap.testing import ImapServer, Received, WebhookSink


class Provider:
    """A token endpoint, and a mail server that accepts its tokens."""

    def __init__(self, imap: ImapServer, sink: WebhookSink) -> None:
        self.account = imap.add_account("ann@example.com", "unused")
        self.given: list[str] = []
        self.asked: list[str] = []
        self.error: str | None = None
        self.page: str | None = None
        sink.on("/token", self.answer)

    def answer(self, received: Received) -> web.Response:
        self.asked.append(received.body.decode())
        if self.page:
            return web.Response(status=400, text=self.page, content_type="text/html")
        if self.error:
            return web.json_response({"error": self.error}, status=400)
        token = f"access-{len(self.given)}"
        self.given.append(token)
        self.account.tokens.add(token)
        return web.json_response(
            {"access_token": token, "expires_in": 3600, "refresh_token": f"refresh-{len(self.given)}"}
        )


@pytest.fixture
async def provider(world: World, imap: ImapServer) -> Any:
    async with WebhookSink() as sink:
        found = Provider(imap, sink)
        partner = await world.partner()
        async with engine.sessions(world.database_url) as sessions, sessions.begin() as db:
            row = await providers.create(
                db,
                code="OAUTH",
                title="OAuth",
                kind="OAUTH2",
                imap_host=imap.host,
                imap_port=imap.port,
                imap_tls="none",
                oauth2_authorize_url="https://id.example.com/authorize",
                oauth2_token_url=sink.url("/token"),
                oauth2_scope="mail",
            )
            linked = await connections.create(
                db,
                world.vault,
                partner.partner.id,
                row,
                {"oauth2_client_id": "client", "oauth2_client_secret": "s3cret"},
            )
            await users.create(
                db,
                world.vault,
                linked,
                {"tag": "ann", "email": "ann@example.com", "oauth2_refresh_token": "refresh-0"},
            )
        yield found


async def idling(imap: ImapServer) -> None:
    await imap.wait_for(lambda: any(session.idling for session in imap.sessions))


async def test_a_refresh_token_opens_a_session_and_its_successor_is_stored(world, imap, provider):
    async with running(services.run_idler, world.settings):
        await idling(imap)

    assert len(provider.asked) == 1
    assert "refresh_token=refresh-0" in provider.asked[0]
    row = (await world.rows("SELECT * FROM users"))[0]
    from superimap.core.crypto import Place

    place = Place("users", "oauth2_refresh_token", row["partner_id"], str(row["id"]))
    assert world.vault.open_text(row["oauth2_refresh_token"], place) == "refresh-1"


async def test_the_providers_name_of_an_account_signs_in_until_the_user_has_another_address(
    world, imap, provider
):
    """Exchange checks the name against the token's user name, which need not be an address of the mailbox."""
    account = imap.add_account("u7@sign-in.example.com", "unused")
    account.tokens = provider.account.tokens
    await world.rows("UPDATE users SET login_username = 'u7@sign-in.example.com', email = 'ada@example.com'")

    async with running(services.run_idler, world.settings):
        await idling(imap)
        await eventually(lambda: world.value("SELECT account IS NOT NULL FROM mailboxes"))
    assert await world.value("SELECT account FROM mailboxes") == "ada@example.com"


async def test_a_fresh_access_token_is_reused(world, imap, provider):
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.drop_all()
        await imap.wait_for(lambda: imap.logins == 2)
        await idling(imap)

    assert len(provider.asked) == 1


async def test_an_access_token_revoked_early_is_replaced_once(world, imap, provider):
    async with running(services.run_idler, world.settings):
        await idling(imap)
        provider.account.tokens.clear()
        imap.drop_all()
        await imap.wait_for(lambda: imap.logins == 2)
        await idling(imap)

    assert provider.given == ["access-0", "access-1"]


async def test_a_revoked_grant_is_reported_and_not_requested_again(world, imap, provider):
    provider.error = "invalid_grant"
    async with running(services.run_idler, world.settings):
        await eventually(
            lambda: world.value("SELECT count(*) = 1 FROM users WHERE status = 'authentication_failed'")
        )

    assert "invalid_grant" in await world.value("SELECT status_reason FROM users")
    assert len(provider.asked) == 1
    assert imap.failed_logins == 0
    assert json.dumps(provider.given) == "[]"


async def test_an_unknown_lasting_refusal_is_reported_after_hours_and_ends_with_a_token(
    world, imap, provider
):
    provider.page = "<h1>Bad Request</h1>"
    async with running(services.run_idler, world.settings):
        await eventually(lambda: world.value("SELECT refusals > 1 FROM users"))
    assert await world.value("SELECT status FROM users") == "backing_off"
    assert await world.value("SELECT count(*) FROM user_events") == 0

    await world.rows(
        "UPDATE users SET refused_since = now() - interval '3 hours', refusals = 3, retry_at = NULL"
    )
    async with running(services.run_idler, world.settings):
        await eventually(
            lambda: world.value("SELECT count(*) = 1 FROM users WHERE status = 'authentication_failed'")
        )
    events = await world.rows("SELECT kind, code FROM user_events")
    assert [tuple(event) for event in events] == [("reauth_required", "access_revoked")]
    assert "HTTP 400" in await world.value("SELECT status_reason FROM users")

    provider.page = None
    await world.rows("UPDATE users SET retry_at = NULL")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        await eventually(lambda: world.value("SELECT count(*) = 2 FROM user_events"))
    assert await world.value("SELECT status FROM users") == "watching"
