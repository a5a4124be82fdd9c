"""Creation of a user by few statements, and the connections of the pool that it uses."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from superimap.db import engine
from superimap.db.engine import driver_connection, driver_transaction, sessions
from superimap.db.models import PartnerUsage
from tests.support.api import world as make_world
from tests.support.statement_log import StatementLog

USERS = "/api/v1/connections/PLAIN/users"
ADA = {"tag": "ADA", "email": "ada@example.com", "login_username": "ada", "login_password": "pass-1"}


@pytest.fixture
def log(monkeypatch):
    made = StatementLog()
    made.record(monkeypatch)
    return made


@pytest.fixture
async def world(log, database_url):
    """The application, whose statements are recorded."""
    async with make_world(database_url) as made:
        yield made


@pytest.fixture
async def client(world):
    """A client of the partner acme that has created a user, so that its key and its quotas are known."""
    async with world.client(world.acme) as opened:
        await opened.post("/api/v1/connections", json={"imap_provider_code": "PLAIN"})
        await opened.post(USERS, json={"tag": "first", "login_username": "first", "login_password": "p"})
        yield opened


def of_transaction(statements: list[str]) -> list[str]:
    """The statements of the transaction that creates the user."""
    begin = next(at for at, each in enumerate(statements) if "'users_id_seq'" in each) - 1
    end = next(
        at for at, each in enumerate(statements) if at > begin and each.startswith(("COMMIT", "ROLLBACK"))
    )
    return statements[begin : end + 1]


async def test_a_user_is_created_by_three_statements_in_one_transaction(log, client):
    await log.take()
    created = await client.post(USERS, json=ADA)
    begin, find, count, insert, commit = of_transaction(await log.take())

    assert created.status_code == 201
    assert (begin, commit) == ("BEGIN;", "COMMIT;")
    assert "FROM connections" in find
    assert "INSERT INTO login_tries" in count
    assert "INSERT INTO users" in insert
    assert "INSERT INTO audit_log" in insert
    assert "pg_notify" in insert


async def test_a_user_without_a_password_takes_two_statements(log, client):
    await log.take()
    created = await client.post(USERS, json={"tag": "ADA"})

    assert created.status_code == 201
    assert len(of_transaction(await log.take())) == 2 + 2


async def test_a_creation_that_fails_leaves_the_quota_and_the_tries_as_they_were(client, world):
    async def left() -> tuple:
        async with world.sessionmaker() as db:
            room = await db.scalars(select(PartnerUsage.room).order_by(PartnerUsage.quota))
            return (*room, await db.scalar(text("SELECT sum(count) FROM login_tries")))

    await client.post(USERS, json=ADA)
    before = await left()
    answers = [
        await client.post(USERS, json=ADA),
        await client.post(USERS, json=ADA | {"tag": "B"}),
        await client.post(USERS, json=ADA | {"tag": "a/b"}),
        await client.post("/api/v1/connections/NONE/users", json=ADA),
    ]

    assert [answer.status_code for answer in answers] == [409, 409, 422, 404]
    assert await left() == before


async def test_an_unknown_connection_is_reported_before_an_invalid_body(client):
    answer = await client.post("/api/v1/connections/GMAIL_OAUTH2/users", json={"tag": ""})

    assert (answer.status_code, answer.json()["detail"]) == (404, "Connection not found.")


async def test_expired_tries_are_deleted_twice_as_fast_as_tries_are_added(client, world):
    async with world.sessionmaker.begin() as db:
        await db.execute(
            text(
                "INSERT INTO login_tries (key, ends_at) "
                "SELECT n::text::bytea, now() - interval '1 s' FROM generate_series(1, 150) n"
            )
        )
    expired = "SELECT count(*) FROM login_tries WHERE ends_at < now()"
    for number in range(60):
        person = {"tag": f"u{number}", "login_username": f"u{number}", "login_password": "p"}
        assert (await client.post(USERS, json=person)).status_code == 201

    async with world.sessionmaker() as db:
        assert await db.scalar(text(expired)) == 0


async def test_a_session_and_its_driver_share_one_transaction(database_url):
    async with sessions(database_url) as opened, opened() as db:
        driver = await driver_connection(db)
        await driver.execute("CREATE TABLE shared (n int)")
        await db.execute(text("INSERT INTO shared VALUES (1)"))
        await db.rollback()

        assert await db.scalar(text("SELECT to_regclass('shared')")) is None


@pytest.mark.parametrize("unused_seconds", [0.0, 2.0])
async def test_a_closed_connection_of_the_pool_is_replaced(database_url, monkeypatch, unused_seconds):
    async with sessions(database_url, pool_size=1) as opened:
        async with driver_transaction(opened) as driver:
            process = driver.get_server_pid()
        clock = engine.time.monotonic
        monkeypatch.setattr(engine.time, "monotonic", lambda: clock() + unused_seconds)
        driver.terminate()

        async with driver_transaction(opened) as another:
            assert await another.fetchval("SELECT 1") == 1
            assert another.get_server_pid() != process


async def test_a_connection_is_tested_only_after_a_second_without_use(log, database_url, monkeypatch):
    async with sessions(database_url, pool_size=1) as opened:
        async with driver_transaction(opened):
            pass
        await log.take()
        async with driver_transaction(opened):
            pass
        soon = await log.take()
        clock = engine.time.monotonic
        monkeypatch.setattr(engine.time, "monotonic", lambda: clock() + engine.UNTESTED_SECONDS)
        async with driver_transaction(opened):
            pass
        later = await log.take()

    assert soon == ["BEGIN;", "COMMIT;"]
    assert later == ["BEGIN;", ";", "ROLLBACK;", "BEGIN;", "COMMIT;"]


async def test_a_connection_that_is_useless_does_not_return_to_the_pool(database_url):
    async with sessions(database_url, pool_size=1) as opened:
        async with driver_transaction(opened) as driver:
            driver.is_useless = True

        async with driver_transaction(opened) as another:
            assert another is not driver
