"""All services behind PgBouncer in session mode, with its default settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest_asyncio

from fixtures.world import World, eventually, running
from superimap.core.postgres_url import connection_arguments
from superimap.db import poolers, postgres
from superimap.db.delivery import sweeping
from superimap.db.poolers import PoolerMode
from superimap.dispatcher.sweeper import SWEEPER_LOCK_KEY
from superimap.launch import services
from superimap.testing import ImapServer, WebhookSink
from tests.support.api import served
from tests.support.mails import mail
from tests.support.pgbouncer import pooled


@pytest_asyncio.fixture
async def pooler_url(database_url: str, unused_tcp_port: int) -> AsyncIterator[str]:
    async with pooled(database_url, unused_tcp_port) as url:
        yield url


async def test_a_mail_has_one_webhook_and_the_api_answers(pooler_url: str, redis_url: str):
    world = World(pooler_url, redis_url)
    async with ImapServer() as imap, WebhookSink() as sink:
        imap.add_account("joe", "secret")
        await world.provider(imap.host, imap.port)
        partner = await world.partner(new_mail_webhook=sink.url("/new_mail"))
        await world.connection(partner)
        await world.users(partner, {"joe": "joe"}, password="secret")
        async with (
            running(services.run_idler, world.settings),
            running(services.run_dispatcher, world.settings),
            served(world.settings.model_copy(update={"port": 0})) as url,
        ):
            await eventually(lambda: world.value("SELECT status = 'watching' FROM users"))
            imap.deliver("joe", mail("first"))
            await sink.wait_for(1)
            assert await _status(url) == 200
    assert sink.count == 1


async def _status(url: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


async def test_the_settings_of_a_session_are_in_force(pooler_url: str):
    db = await postgres.connect(pooler_url, settings={"idle_session_timeout": "7000"})
    shown = {name: await db.fetchval(f"SHOW {name}") for name in (*postgres.SESSION_SETTINGS, "timezone")}
    assert shown == {"idle_in_transaction_session_timeout": "1min", "lock_timeout": "20s", "timezone": "UTC"}
    assert await db.fetchval("SHOW idle_session_timeout") == "7s"
    await db.close()


async def test_the_next_client_of_a_connection_has_its_own_settings(pooler_url: str):
    (dsn,) = connection_arguments(pooler_url).dsns
    poolers._modes[dsn] = PoolerMode.SESSION  # else a second connection finds it, which other may get
    db = await postgres.connect(pooler_url, settings={"lock_timeout": "7"})
    backend = await db.fetchval("SELECT pg_backend_pid()")
    await db.close()

    other = await asyncpg.connect(pooler_url)
    assert await other.fetchval("SELECT pg_backend_pid()") == backend
    assert await other.fetchval("SHOW lock_timeout") == "0"
    await other.close()


async def test_a_sweeper_that_stopped_loses_its_lock(pooler_url: str):
    holder, other = await asyncpg.connect(pooler_url), await asyncpg.connect(pooler_url)
    assert await holder.fetchval("SELECT pg_try_advisory_lock($1)", SWEEPER_LOCK_KEY)

    await eventually(lambda: sweeping.end_silent_holder(other, key=SWEEPER_LOCK_KEY, after=0.0))

    await eventually(lambda: other.fetchval("SELECT pg_try_advisory_lock($1)", SWEEPER_LOCK_KEY))
    holder.terminate()
    await other.close()
