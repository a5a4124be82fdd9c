"""Access tokens: each is requested once, by the first process that needs it, and no answer is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web

from fixtures.world import World
from superimap.core.crypto import Place
from superimap.db.watching import token_leases as queries
from superimap.idler import token_pauses
from superimap.oauth import token_lifetime
from superimap.oauth.refusal_codes import TokenRefusal
from superimap.oauth.token_errors import TokenRefused, TokenUnavailable
from superimap.testing import WebhookSink
from superimap.testing.oauth.server import OAuthServer
from tests.support.consent import Consented, consented, process, provider
from tests.support.db_proxy import DbProxy


@pytest.fixture
def world(database_url: str) -> World:
    return World(database_url, "redis://127.0.0.1:1/0")


@pytest.fixture
async def oauth() -> AsyncIterator[OAuthServer]:
    async with provider() as server:
        yield server


@pytest.fixture
async def acme(world: World, oauth: OAuthServer) -> Consented:
    return await consented(world, oauth)


async def make_old(world: World, table: str = "users", *, part: float = 0.9) -> None:
    """Age the stored tokens by this part of their lifetime."""
    await world.rows(
        f"UPDATE {table} SET oauth2_access_token_expires_at = now() + make_interval(secs => $1"
        " * oauth2_access_token_life) RETURNING id",
        1 - part,
    )


# One question.


async def test_two_processes_that_need_a_token_at_once_make_one_refresh(world, oauth, acme):
    """With rotation, a second refresh would void the grant (RFC 9700 section 4.14.2)."""
    ann = await acme.user("ann@example.com")

    async with process(world) as one, process(world) as other:
        given = await asyncio.gather(*(each.get(ann) for each in (one, other, one, other)))
        assert oauth.count("/token") == 1
        assert len({access.token for access in given}) == 1
        assert oauth.opens(given[0].token, "ann@example.com")

        await make_old(world)
        again = await asyncio.gather(*(each.get(ann, after=given[0]) for each in (one, other)))

    assert oauth.count("/token") == 2
    assert again[0].token == again[1].token != given[0].token
    assert sum(access.is_new for access in again) == 1


async def test_a_stored_token_is_used_until_it_is_aged(world, oauth, acme):
    ann = await acme.user("ann@example.com")
    async with process(world) as tokens:
        first = await tokens.get(ann)
        await make_old(world, part=token_lifetime.REPLACE_FROM_FRACTION - 0.01)
        assert (await tokens.get(ann)).token == first.token

        await make_old(world, part=token_lifetime.REPLACE_FROM_FRACTION)
        assert (await tokens.get(ann)).token != first.token

    assert oauth.count("/token") == 2


async def test_a_process_killed_during_its_request_delays_others_by_seconds_only(
    world, oauth, acme, monkeypatch
):
    ann = await acme.user("ann@example.com")
    monkeypatch.setattr(queries, "LEASE_SECONDS", 0.3)
    async with process(world) as tokens:
        grant = await queries.load(tokens._pool, ann)
        assert await queries.claim(tokens._pool, grant)  # and is never heard of again
        assert not await queries.claim(tokens._pool, grant)

        assert oauth.opens((await tokens.get(ann)).token, "ann@example.com")

    assert oauth.count("/token") == 1


async def test_a_token_that_lives_for_a_minute_is_used_too(world, acme, oauth):
    oauth.terms.expires_in = 60
    ann = await acme.user("ann@example.com")
    async with process(world) as tokens:
        first, second = await tokens.get(ann), await tokens.get(ann)

    assert first.token == second.token
    assert (first.is_new, second.is_new) == (True, False)
    assert 58 < second.seconds_left <= 60
    assert 0 < second.rollover_delay(0.0) < second.rollover_delay(0.99) < 56


# Nothing is lost.


class Giving:
    """A token endpoint that calls a hook before it answers."""

    def __init__(self, before: Any) -> None:
        self.asked = 0
        self._before = before

    async def __call__(self, _received: object) -> web.Response:
        self.asked += 1
        await self._before()
        number = self.asked
        return web.json_response(
            {"access_token": f"at-{number}", "expires_in": 60, "refresh_token": f"rt-{number}-of-ann"}
        )


async def point_to(world: World, url: str) -> None:
    await world.rows("UPDATE providers SET oauth2_token_url = $1 RETURNING id", url)


async def kept_refresh_token(world: World) -> str:
    row = (await world.rows("SELECT * FROM users"))[0]
    place = Place("users", "oauth2_refresh_token", row["partner_id"], str(row["id"]))
    return world.vault.open_text(row["oauth2_refresh_token"], place)


async def test_a_rotated_refresh_token_survives_an_outage_of_the_database(world, acme, open_folder, tmp_path):
    ann = await acme.user("ann@example.com")
    proxy = DbProxy(world.database_url, tmp_path)
    await proxy.open()
    giving = Giving(proxy.close)
    async with WebhookSink() as sink:
        sink.on("/token", giving)
        await point_to(world, sink.url("/token"))
        async with process(world, database_url=proxy.url) as tokens:
            getting = asyncio.create_task(tokens.get(ann))
            await sink.wait_for(1)
            await asyncio.wait([getting], timeout=0.3)
            assert not getting.done()  # it is not used before it is stored
            await proxy.open()

            access = await getting
        await proxy.close()

    assert (giving.asked, access.token) == (1, "at-1")
    assert await kept_refresh_token(world) == "rt-1-of-ann"


async def test_a_token_is_stored_even_if_its_caller_was_cancelled(world, acme):
    """A session ends because its shard is handed over; the next one needs the new refresh token."""
    ann = await acme.user("ann@example.com")
    goes_on = asyncio.Event()
    async with WebhookSink() as sink:
        sink.on("/token", Giving(goes_on.wait))
        await point_to(world, sink.url("/token"))
        async with process(world) as tokens:
            getting = asyncio.create_task(tokens.get(ann))
            await sink.wait_for(1)
            getting.cancel()
            asyncio.get_running_loop().call_later(0.1, goes_on.set)

    assert await kept_refresh_token(world) == "rt-1-of-ann"


async def test_encryption_keys_may_rotate_during_a_token_request(world, acme):
    """The row is encrypted again meanwhile: the same grant in other bytes."""
    ann = await acme.user("ann@example.com")

    async def reseal() -> None:
        row = (await world.rows("SELECT * FROM users"))[0]
        place = Place("users", "oauth2_refresh_token", row["partner_id"], str(row["id"]))
        opened = world.vault.open_text(row["oauth2_refresh_token"], place)
        await world.rows(
            "UPDATE users SET oauth2_refresh_token = $1 RETURNING id", world.vault.seal_text(opened, place)
        )

    async with WebhookSink() as sink:
        sink.on("/token", Giving(reseal))
        await point_to(world, sink.url("/token"))
        async with process(world) as tokens:
            await tokens.get(ann)

    assert await kept_refresh_token(world) == "rt-1-of-ann"


async def test_an_answer_for_replaced_credentials_is_not_stored(world, acme):
    ann = await acme.user("ann@example.com")

    async def connect_anew() -> None:
        await world.change_user(
            acme.partner, "ann", code="OAUTH", oauth2_refresh_token="rt-of-another-consent-1"
        )

    async with WebhookSink() as sink:
        sink.on("/token", Giving(connect_anew))
        await point_to(world, sink.url("/token"))
        async with process(world) as tokens:
            with pytest.raises(TokenUnavailable, match="other credentials"):
                await tokens.get(ann)

    assert await kept_refresh_token(world) == "rt-of-another-consent-1"
    assert await world.value("SELECT oauth2_access_token FROM users") is None


async def test_storing_the_same_answer_twice_counts_once(world, acme):
    """The answer to the first statement is lost with the connection; the second must recognise the grant."""
    ann = await acme.user("ann@example.com")
    async with process(world) as tokens:
        grant = await queries.load(tokens._pool, ann)
        row = (await world.rows("SELECT partner_id FROM users"))[0]
        sealed = world.vault.seal_text("at-1", Place("users", "oauth2_access_token", row[0], str(ann)))
        kept = {"access_token": sealed, "life": 60.0, "left": 60.0, "refresh_token": None}

        assert await queries.store_token(tokens._pool, grant, **kept)
        assert await queries.store_token(tokens._pool, grant, **kept)
        assert not await queries.store_token(tokens._pool, grant, **{**kept, "access_token": sealed[::-1]})


# While the provider is unreachable, or refuses.


@dataclass
class Row:
    """A fault of the provider, the error, and the requests made when two users of a connection need a token."""

    fault: str
    error: type[Exception]
    says: str
    asked: int


TABLE = [
    Row("invalid_grant", TokenRefused, "revoked or has expired", 2),
    Row("consent_required", TokenRefused, "must consent again", 2),
    Row("unauthorized_client", TokenRefused, "client id or secret is wrong", 2),
    Row("invalid_client", TokenRefused, "client id or secret is wrong", 1),
    Row("throttled", TokenUnavailable, "HTTP 429", 1),
    Row("server_error", TokenUnavailable, "HTTP 500", 2),
    Row("unready", TokenUnavailable, "HTTP 503", 2),
    Row("hang", TokenUnavailable, "did not answer in time", 2),
    Row("garbage", TokenUnavailable, "HTTP 200", 2),
    Row("redirect", TokenUnavailable, "HTTP 302", 2),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.fault)
async def test_errors_of_a_provider_are_distinguished(world, oauth, acme, monkeypatch, row):
    monkeypatch.setattr("superimap.oauth.token_endpoint.DEADLINE_SECONDS", 0.3)
    ann, ben = [await acme.user(f"{name}@example.com") for name in ("ann", "ben")]
    oauth.faults.arm(row.fault, times=None)
    async with process(world) as tokens:
        for user in (ann, ben):
            with pytest.raises(row.error, match=row.says):
                await tokens.get(user)
        assert oauth.count("/token") == row.asked

        oauth.faults.clear()
        await world.rows("UPDATE connections SET oauth2_pause_until = now() RETURNING id")  # it is over
        assert [oauth.opens((await tokens.get(each)).token, f"{name}@example.com")
                for each, name in ((ann, "ann"), (ben, "ben"))] == [True, True]  # fmt: skip


async def test_a_corrected_client_secret_is_tried_at_once(world, oauth, acme):
    ann = await acme.user("ann@example.com")
    await acme.change(oauth2_client_secret="wr0ng-secret-of-acme")
    async with process(world) as tokens:
        for _ in range(2):
            with pytest.raises(TokenRefused) as refused:
                await tokens.get(ann)
            assert refused.value.refusal is TokenRefusal.CLIENT
        assert oauth.count("/token") == 1
        assert await world.value("SELECT oauth2_pause_until > now() + interval '290 s' FROM connections")

        await acme.change(oauth2_client_secret="cl13nt-s3cret-of-acme")

        assert oauth.opens((await tokens.get(ann)).token, "ann@example.com")


@pytest.mark.parametrize("fault", ["server_error", "throttled", "invalid_client"])
async def test_an_aged_token_is_used_while_no_new_one_is_available(world, oauth, acme, fault):
    ann = await acme.user("ann@example.com")
    async with process(world) as tokens:
        first = await tokens.get(ann)
        await make_old(world)
        oauth.faults.arm(fault, times=None)

        aged = await tokens.get(ann)
        assert (aged.token, aged.is_aged) == (first.token, True)
        with pytest.raises((TokenUnavailable, TokenRefused)):
            await tokens.get(ann, after=aged)

        await make_old(world, part=1.01)
        with pytest.raises((TokenUnavailable, TokenRefused)):
            await tokens.get(ann)


async def test_the_rest_of_a_token_is_not_used_after_consent_is_withdrawn(world, oauth, acme):
    ann = await acme.user("ann@example.com")
    async with process(world) as tokens:
        await tokens.get(ann)
        await make_old(world)
        oauth.revoke("ann@example.com")

        with pytest.raises(TokenRefused, match="invalid_grant"):
            await tokens.get(ann)


# One token for a whole connection.


@pytest.fixture
async def organisation(world: World, oauth: OAuthServer) -> Consented:
    return await consented(world, oauth, app_only=True)


async def test_one_token_opens_all_mailboxes_of_a_connection(world, oauth, organisation):
    people = [await organisation.user(f"user{number}@example.com") for number in range(5)]
    async with process(world) as one, process(world) as other:
        given = await asyncio.gather(*(each.get(user) for user in people for each in (one, other)))

    assert oauth.count("/token") == 1
    assert len({access.token for access in given}) == 1
    assert oauth.opens(given[0].token, "user3@example.com")
    row = (await world.rows("SELECT * FROM connections"))[0]
    place = Place("connections", "oauth2_access_token", row["partner_id"], str(row["id"]))
    assert world.vault.open_text(row["oauth2_access_token"], place) == given[0].token
    assert await world.value("SELECT count(*) FROM users WHERE oauth2_access_token IS NOT NULL") == 0


async def test_an_unreachable_provider_gets_one_request_for_all_users(world, oauth, organisation):
    people = [await organisation.user(f"user{number}@example.com") for number in range(5)]
    oauth.faults.arm("server_error", times=None)
    async with process(world) as tokens:
        for user in people:
            with pytest.raises(TokenUnavailable, match="HTTP 500"):
                await tokens.get(user)

    assert oauth.count("/token") == 1
    assert 0 < await world.value(
        "SELECT extract(epoch FROM oauth2_pause_until - now())::float8 FROM connections"
    ) <= token_pauses.SHARED_PAUSE_SECONDS  # fmt: skip


async def test_one_user_without_permission_does_not_renew_the_shared_token(world, oauth, organisation):
    ann = await organisation.user("ann@example.com")
    async with process(world) as tokens:
        first = await tokens.get(ann)
        await tokens.forget(ann)
        assert (await tokens.get(ann)).token == first.token

        await make_old(world, "connections", part=0.1)  # six minutes: it may well be at fault by now
        await tokens.forget(ann)
        assert (await tokens.get(ann)).token != first.token


async def test_a_new_client_or_tenant_gets_a_new_token(world, oauth, organisation):
    ann = await organisation.user("ann@example.com")
    async with process(world) as tokens:
        first = await tokens.get(ann)
        await organisation.change(oauth2_client_id="client")

        assert (await tokens.get(ann)).token != first.token


async def test_the_tenant_is_inserted_into_the_path_of_the_token_url(world, organisation):
    ann = await organisation.user("ann@example.com")
    async with WebhookSink() as sink:
        sink.on("/contoso.example.com/token", Giving(lambda: asyncio.sleep(0)))
        await point_to(world, sink.url("/{tenant}/token"))
        async with process(world) as tokens:
            with pytest.raises(TokenRefused, match="tenant"):
                await tokens.get(ann)
            await organisation.change(
                oauth2_tenant="contoso.example.com", oauth2_client_secret="cl13nt-s3cret-of-acme"
            )
            assert (await tokens.get(ann)).token == "at-1"

        (asked,) = sink.received
    assert b"grant_type=client_credentials" in asked.body
    assert b"scope=https%3A%2F%2Foutlook.example.com%2F.default" in asked.body
