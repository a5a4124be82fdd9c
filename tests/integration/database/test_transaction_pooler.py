"""All services behind PgBouncer in transaction mode, with a URL of PostgreSQL for what needs a session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
import pytest_asyncio
from sqlalchemy import text

from fixtures.world import World, eventually, running
from superimap.core.postgres_url import connection_arguments
from superimap.db import engine, poolers, postgres
from superimap.db.driver import SESSION_SETTINGS
from superimap.db.failures import DatabaseFailure, classify
from superimap.db.poolers import PoolerMode, SessionNotKept
from superimap.launch import services
from superimap.testing import ImapServer, WebhookSink
from tests.support.api import served
from tests.support.mails import mail
from tests.support.pgbouncer import pooled
from tests.support.processes import environment, started

SERVERS = 4
"""Connections of PgBouncer to PostgreSQL: fewer than the services have to PgBouncer, and more than one."""


@pytest_asyncio.fixture
async def pooler_url(database_url: str, unused_tcp_port: int) -> AsyncIterator[str]:
    async with pooled(database_url, unused_tcp_port, mode="transaction", size=SERVERS) as url:
        yield url


@pytest.fixture
def world(pooler_url: str, database_url: str, redis_url: str) -> World:
    return World(pooler_url, redis_url, {"database_session_url": database_url})


@pytest.fixture
def direct(world: World, database_url: str, redis_url: str) -> World:
    """The same database without a pooler, for the rows that a test reads."""
    return World(database_url, redis_url, encryption_key=world.encryption_key)


async def test_each_mail_has_one_webhook_and_the_api_works(world: World, direct: World):
    people = [f"joe{number}" for number in range(8)]
    async with ImapServer() as imap, WebhookSink() as sink:
        for each in people:
            imap.add_account(each, "secret")
        await world.provider(imap.host, imap.port)
        partner = await world.partner(new_mail_webhook=sink.url("/new_mail"))
        await world.connection(partner)
        async with (
            running(services.run_idler, world.settings),
            running(services.run_dispatcher, world.settings),
            served(world.settings.model_copy(update={"port": 0})) as url,
            httpx.AsyncClient(base_url=url, headers={"x-api-key": partner.api_key}) as client,
        ):
            created = await asyncio.gather(*(_create_user(client, each) for each in people))
            await eventually(lambda: direct.value("SELECT count(*) = 8 FROM users WHERE status = 'watching'"))
            for number in range(3):
                for each in people:
                    imap.deliver(each, mail(number, to=each))
            await sink.wait_for(24)
            await eventually(lambda: direct.value("SELECT bool_and(state = 'delivered') FROM deliveries"))
            listed = await client.get("/api/v1/connections/TEST/users")
    assert (set(created), len(listed.json()), sink.count) == ({201}, 8, 24)


async def _create_user(client: httpx.AsyncClient, name: str) -> int:
    body = {"tag": name, "email": f"{name}@example.com", "login_username": name, "login_password": "secret"}
    return (await client.post("/api/v1/connections/TEST/users", json=body)).status_code


async def test_statements_and_transactions_run_while_their_sessions_change(pooler_url: str):
    sessions: set[int] = set()

    async def run(pool: asyncpg.Pool, number: int) -> None:
        async with pool.acquire() as db:
            for each in range(20):
                assert await db.fetchval("SELECT $1::int + 1", each) == each + 1
                async with db.transaction():
                    sessions.add(await db.fetchval("SELECT pg_backend_pid()"))
                    assert await db.fetch("SELECT unnest($1::int[])", [number, each]) == [(number,), (each,)]

    async with postgres.pool(pooler_url, size=SERVERS * 2) as pool:
        await asyncio.gather(*(run(pool, number) for number in range(SERVERS * 2)))

    assert len(sessions) > 1


async def test_a_transaction_has_its_limits_and_leaves_none_behind(pooler_url: str):
    db = await postgres.connect(pooler_url)
    async with db.transaction():
        within = {name: await db.fetchval(f"SHOW {name}") for name in (*SESSION_SETTINGS, "timezone")}
    after = {name: await db.fetchval(f"SHOW {name}") for name in SESSION_SETTINGS}
    await db.close()

    assert within == {"idle_in_transaction_session_timeout": "1min", "lock_timeout": "20s", "timezone": "UTC"}
    assert after == dict.fromkeys(SESSION_SETTINGS, "0")


async def test_the_sessions_of_sqlalchemy_have_the_same_limits(pooler_url: str):
    async with engine.sessions(pooler_url) as sessions:
        for _ in range(3):  # the second time the statement is known
            async with sessions.begin() as db:
                assert await db.scalar(text("SELECT current_setting('lock_timeout')")) == "20s"


async def test_a_known_statement_is_prepared_once_in_a_shared_session(pooler_url: str, monkeypatch):
    prepared: list[str] = []
    prepare = asyncpg.Connection._get_statement

    async def counting(self, query: str, *args, **options):
        prepared.append(query)
        return await prepare(self, query, *args, **options)

    db = await postgres.connect(pooler_url)
    monkeypatch.setattr(asyncpg.Connection, "_get_statement", counting)
    seen = [await db.fetchval("SELECT $1::int", number) for number in range(3)]
    await db.close()

    assert (seen, prepared) == ([0, 1, 2], ["SELECT $1::int"])


@pytest.mark.parametrize("sql", ["SELECT id FROM ids", "SELECT 5 FROM ids WHERE id = {}"])
async def test_a_statement_whose_types_have_changed_fails_once_as_outdated(pooler_url, database_url, sql):
    """As after a migration from int to bigint while processes run: results and parameters are read anew."""
    admin, values = await asyncpg.connect(database_url), [5] if "{}" in sql else []
    await admin.execute("CREATE TABLE ids (id int); INSERT INTO ids VALUES (5)")

    async with (
        postgres.pool(pooler_url, size=1) as pool,
        engine.sessions(pooler_url, pool_size=1) as sessions,
    ):

        async def with_asyncpg() -> object:
            return await pool.fetchval(sql.format("$1"), *values)

        async def with_sqlalchemy() -> object:
            async with sessions.begin() as db:
                return await db.scalar(text(sql.format(":id")), {"id": 5} if values else {})

        for run in (with_asyncpg, with_sqlalchemy):
            assert await run() == 5
            await admin.execute("ALTER TABLE ids ALTER id TYPE bigint")
            with pytest.raises(postgres.UNAVAILABLE) as raised:
                await run()
            assert classify(raised.value) is DatabaseFailure.OUTDATED
            assert await run() == 5
            await admin.execute("ALTER TABLE ids ALTER id TYPE int")
    await admin.close()


async def test_what_needs_a_session_is_refused_with_the_remedy(pooler_url: str):
    with pytest.raises(SessionNotKept, match="DATABASE_SESSION_URL"):
        await postgres.connect(pooler_url, needs_session=True)


@pytest.mark.parametrize("command", ["idler", "dispatcher", "migrate"])
async def test_a_process_that_needs_a_session_ends_at_its_start(pooler_url, redis_url, direct, command):
    world = World(pooler_url, redis_url, encryption_key=direct.encryption_key)
    async with started(command, env=environment(world)) as process:
        code = await process.ended()

    assert code == 1
    assert "set DATABASE_SESSION_URL" in process.output
    assert "Traceback" not in process.output


async def test_a_pooler_that_changes_its_mode_is_found_again(pooler_url: str):
    """As after a reload of its configuration: statements with names are lost."""
    (dsn,) = connection_arguments(pooler_url).dsns
    poolers._modes[dsn] = PoolerMode.SESSION
    ends: set[str] = set()

    async def run(pool: asyncpg.Pool) -> None:
        for number in range(50):
            try:
                await pool.fetchval("SELECT $1::int", number)
                ends.add("answered")
            except postgres.UNAVAILABLE as error:
                ends.add(type(error).__name__)

    async with postgres.pool(pooler_url, size=SERVERS * 2) as pool:
        await asyncio.gather(*(run(pool) for _ in range(SERVERS * 2)))

    await (await postgres.connect(pooler_url)).close()
    assert ends > {"answered"}
    assert poolers._modes[dsn] is PoolerMode.TRANSACTION


def _rotation(sessions: list[int]) -> poolers.SessionAsker:
    """A pooler that hands out its sessions in turn."""

    async def ask() -> int:
        sessions.append(sessions.pop(0))
        return sessions[-1]

    return ask


async def test_modes_of_poolers_are_told_apart():
    async def one() -> int:
        return 1

    async def two() -> int:
        return 2

    rotation = _rotation([1, 2])
    assert not await poolers.share_sessions(one, two)
    assert await poolers.share_sessions(one, one)
    assert await poolers.share_sessions(rotation, rotation)
