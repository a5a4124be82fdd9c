"""Connections to PostgreSQL of each process, counted in pg_stat_activity: held sessions, and the most at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from fixtures.world import World, eventually, running
from superimap.core.config import Settings
from superimap.doorbells.redis import EndpointDoorbell
from superimap.idler.main import LEASE_CONNECTIONS
from superimap.launch import services
from superimap.testing import ImapServer
from tests.support.api import served
from tests.support.mails import mail
from tests.support.pgbouncer import pooled

POOL = 4
USERS = 12
"""More than the connections of a pool, so that it is used up."""


@pytest.fixture
def world(database_url: str, redis_url: str) -> World:
    return World(database_url, redis_url, {"database_pool_size": POOL})


def named(world: World, name: str) -> Settings:
    """Settings of a process whose connections have this name."""
    separator = "&" if "?" in world.database_url else "?"
    url = f"{world.database_url}{separator}application_name={name}"
    return world.settings.model_copy(update={"database_url": url, "port": 0})


async def count(world: World, name: str) -> int:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()"
    return await world.value(sql, name)


@contextlib.asynccontextmanager
async def locked(world: World, table: str) -> AsyncIterator[None]:
    """Let all statements on a table wait, so that each occupies its connection."""
    db = await asyncpg.connect(world.database_url)
    try:
        async with db.transaction():
            await db.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await db.close()


@pytest.fixture
async def imap() -> AsyncIterator[ImapServer]:
    async with ImapServer() as server:
        for number in range(USERS):
            server.add_account(f"u{number}", "secret")
        yield server


async def add_users(world: World, imap: ImapServer) -> str:
    """Create a user for each account, with webhooks that nobody receives; returns the key of their partner."""
    await world.provider(imap.host, imap.port)
    partner = await world.partner(new_mail_webhook="http://127.0.0.1:9/")
    await world.connection(partner)
    await world.users(partner, {f"u{n}": f"u{n}" for n in range(USERS)}, password="secret")
    return partner.api_key


async def watch_all(world: World) -> None:
    await eventually(lambda: world.value("SELECT count(*) = $1 FROM users WHERE status = 'watching'", USERS))


async def at_most(world: World, name: str, most: int) -> None:
    """Wait until a process has this number of connections, and never more."""

    async def is_reached() -> bool:
        found = await count(world, name)
        assert found <= most
        return found == most

    await eventually(is_reached, what=f"{most} connections")


async def test_an_idler_has_its_pool_two_for_its_lease_and_one_session(world: World, imap: ImapServer):
    await add_users(world, imap)
    async with running(services.run_idler, named(world, "idler")):
        await watch_all(world)
        async with locked(world, "messages, shards"):
            for number in range(USERS):
                imap.deliver(f"u{number}", mail(number))
            await at_most(world, "idler", POOL + LEASE_CONNECTIONS + 1)


async def test_a_dispatcher_has_its_pool_and_one_session(world: World, redis_url: str):
    partners = [await world.partner(f"p{n}", new_mail_webhook="http://127.0.0.1:9/") for n in range(USERS)]
    async with running(services.run_dispatcher, named(world, "dispatcher")):
        await eventually(lambda: count(world, "dispatcher"))
        async with locked(world, "deliveries"), EndpointDoorbell(redis_url) as doorbell:
            for row in await world.rows("SELECT id FROM endpoints WHERE url IS NOT NULL"):
                await doorbell.ring(row["id"])
            await at_most(world, "dispatcher", POOL + 1)
    assert len(partners) > POOL


async def test_an_api_has_its_pool(world: World, imap: ImapServer):
    api_key = await add_users(world, imap)
    headers = {"x-api-key": api_key}
    async with (
        served(named(world, "api")) as url,
        httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client,
        locked(world, "users"),
    ):
        requests = [asyncio.create_task(client.get("/api/v1/connections/TEST/users")) for _ in range(USERS)]
        await at_most(world, "api", POOL)
        for each in requests:
            each.cancel()
        await asyncio.gather(*requests, return_exceptions=True)


async def test_behind_a_pooler_a_process_holds_only_its_session(
    world: World, imap: ImapServer, unused_tcp_port: int
):
    await add_users(world, imap)
    async with pooled(world.database_url, unused_tcp_port, mode="transaction", size=3) as url:
        idler, dispatcher = (
            named(world, name).model_copy(
                update={"database_url": url, "database_session_url": named(world, name).database_url}
            )
            for name in ("idler", "dispatcher")
        )
        async with running(services.run_idler, idler), running(services.run_dispatcher, dispatcher):
            await watch_all(world)
            for number in range(USERS):
                imap.deliver(f"u{number}", mail(number))
            await eventually(lambda: world.value("SELECT count(*) = $1 FROM attempts", USERS))
            held = [await count(world, name) for name in ("idler", "dispatcher")]
            shared = await count(world, "superimap")
    assert held == [1, 1]
    assert 1 <= shared <= 3
