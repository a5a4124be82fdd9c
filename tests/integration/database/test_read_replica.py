"""Lists that the API reads from a streaming standby, and when it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from fixtures.engines import database, execute
from fixtures.world import World, eventually
from superimap.api import read_replica
from superimap.api.read_replica import ReadReplica
from superimap.db import engine
from superimap.launch import engines as embedded
from superimap.webhooks.signing import webhook_id
from tests.support.api import served
from trials.faults.engines import EngineControl, Engines
from trials.faults.replicas import ReplicatedEngines, replicated

pytestmark = pytest.mark.slow  # each test has a cluster of two servers of its own

DELIVERIES = "/api/v1/deliveries"
USERS = "/api/v1/connections/TEST/users"
MESSAGES = f"{USERS}/ann/messages"
ADD_DELIVERY = """
    INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind, content, due_at)
    SELECT gen_random_uuid(), u.partner_id, e.id, u.id, 'new_mail', 'x'::bytea, now() + interval '1 d'
    FROM users u JOIN endpoints e ON e.partner_id = u.partner_id AND e.kind = 'new_mail' WHERE u.tag = 'ann'
    RETURNING id
"""
SHOWN = "SELECT count(*) = $1 FROM deliveries"


@pytest_asyncio.fixture
async def pair() -> AsyncIterator[ReplicatedEngines]:
    nothing = EngineControl(lambda: embedded.valkey(None), None)  # type: ignore[arg-type]
    async with replicated(Engines(nothing, nothing), synchronous=False) as engines:
        assert isinstance(engines, ReplicatedEngines)
        yield engines
        assert engines.standby is not None
        engines.standby.resume()


@pytest_asyncio.fixture
async def world(pair: ReplicatedEngines, redis_url: str) -> World:
    url = await pair.database()
    assert pair.standby is not None
    name = url.partition("?")[0].rpartition("/")[2]
    made = World(url, redis_url, {"database_read_url": database(pair.standby.url, name)})
    await made.provider("127.0.0.1", 9)
    return made


@pytest_asyncio.fixture
async def api_key(world: World) -> str:
    partner = await world.partner(new_mail_webhook="http://127.0.0.1:9/hook")
    await world.connection(partner)
    await world.user(partner, "ann", login="ann", password="secret")
    await add_delivery(world)
    standby = World(world.settings.database_read_url, world.redis_url)
    await eventually(lambda: standby.value(SHOWN, 1), what="replication")
    return partner.api_key


@pytest_asyncio.fixture
async def api(world: World, api_key: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = world.settings.model_copy(update={"port": 0, "drain_seconds": 0})
    async with (
        served(settings) as url,
        httpx.AsyncClient(base_url=url, headers={"x-api-key": api_key}, timeout=30) as client,
    ):
        yield client


async def add_delivery(world: World) -> UUID:
    added: UUID = await world.value(ADD_DELIVERY)
    return added


async def count(api: httpx.AsyncClient, path: str = DELIVERIES) -> int:
    answer = await api.get(path)
    assert answer.status_code == 200
    return len(answer.json())


async def stop_replay(pair: ReplicatedEngines) -> None:
    """The standby receives the log and shows nothing new."""
    assert pair.standby is not None
    await execute(pair.standby.url, "SELECT pg_wal_replay_pause()")


async def test_lists_of_deliveries_come_from_the_standby_until_it_is_too_old(world, pair, api):
    await stop_replay(pair)
    added = await add_delivery(world)

    assert await count(api) == 1
    assert (await api.get(f"{DELIVERIES}/{webhook_id(added)}")).status_code == 200
    await eventually(lambda: is_count(api, 2), what="the primary", within=20)


async def is_count(api: httpx.AsyncClient, expected: int) -> bool:
    return await count(api) == expected


async def test_what_a_request_has_changed_is_read_from_the_primary(world, pair, api):
    await stop_replay(pair)

    created = await api.post(USERS, json={"tag": "bob"})

    assert created.status_code == 201
    assert await count(api, USERS) == 2
    assert (await api.get(f"{USERS}/bob")).status_code == 200
    assert await count(api, f"{USERS}/bob/messages") == 0


async def test_without_the_standby_lists_come_from_the_primary_at_once(world, pair, api):
    assert await count(api) == 1
    await add_delivery(world)

    await pair.standby.kill()

    assert await count(api) == 2
    assert await count(api, MESSAGES) == 0


async def test_a_standby_that_hangs_delays_a_list_and_does_not_fail_it(world, pair, api, monkeypatch):
    monkeypatch.setattr(read_replica, "READ_TIMEOUT_SECONDS", 0.2)
    assert await count(api) == 1
    await add_delivery(world)

    pair.standby.pause()

    assert await count(api) == 2


async def test_a_standby_that_comes_back_is_used_again(world, pair, api_key):
    async with (
        engine.sessions(world.database_url) as primary,
        engine.sessions(world.settings.database_read_url) as standby,
    ):
        replica, seen = ReadReplica(standby), []

        async def check() -> bool:
            await replica.check(primary)
            return replica.is_usable

        seen.append(await check())
        await pair.standby.kill()
        seen.append(await check())
        await pair.standby.start()
        await eventually(check, what="the standby")

    assert seen == [True, False]


async def test_a_standby_that_was_promoted_is_not_used(world, pair, api_key):
    async with (
        engine.sessions(pair.primary.url) as primary,
        engine.sessions(world.settings.database_read_url) as standby,
    ):
        replica = ReadReplica(standby)
        await replica.check(primary)
        before = replica.is_usable
        await execute(pair.standby.url, "SELECT pg_promote()")
        await replica.check(primary)

        assert (before, replica.is_usable) == (True, False)


async def test_without_a_standby_all_is_read_from_the_primary(database_url):
    async with engine.sessions(database_url) as primary, primary() as db:
        replica = ReadReplica()
        await replica.check(primary)

        async def source(given: object) -> bool:
            return given is db

        assert await replica.read(db, source)
