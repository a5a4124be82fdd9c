"""Classification of errors that a real PostgreSQL raises, and of those of the driver."""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from superimap.db import postgres
from superimap.db.engine import sessions
from superimap.db.failures import UNAVAILABLE, DatabaseFailure, NotifyQueueFull, classify, explain
from tests.integration.database.conftest import Operator

UNREACHABLE, REFUSED, READ_ONLY, OUT_OF_RESOURCES, CONTENDED, OUTDATED, SERVER_FAULT, FAULT = DatabaseFailure

# Statements that raise an error, one after the other, on one connection.
STATEMENTS = [
    ("25006", READ_ONLY, ["SET default_transaction_read_only = on", "UPDATE users SET tag = 'x'"]),
    ("25006", READ_ONLY, ["BEGIN READ ONLY", "SELECT FROM users FOR UPDATE"]),
    ("57014", CONTENDED, ["SET statement_timeout = 10", "SELECT pg_sleep(5)"]),
    ("42P01", OUTDATED, ["SELECT FROM no_such_table"]),
    ("42703", OUTDATED, ["SELECT no_such_column FROM users"]),
    ("42704", OUTDATED, ["SELECT 1::no_such_type"]),
    ("42883", OUTDATED, ["SELECT no_such_function()"]),
    ("3F000", OUTDATED, ["CREATE TABLE no_such_schema.x ()"]),
    ("26000", OUTDATED, ["EXECUTE of_another_client"]),
    ("23505", FAULT, ["INSERT INTO partners (name) VALUES ('a'), ('a')"]),
    ("22P02", FAULT, ["SELECT 'x'::int"]),
    ("42601", FAULT, ["SELEC"]),
    ("54000", FAULT, ["CREATE TEMP TABLE t (x text PRIMARY KEY)",
                      "INSERT INTO t SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1000) n"]),
]  # fmt: skip
# What a test cannot bring about otherwise; PostgreSQL raises the SQLSTATE itself.
RAISED = {
    "08006": UNREACHABLE, "08P01": UNREACHABLE, "57P02": UNREACHABLE, "57P03": UNREACHABLE, "28P01": REFUSED,
    "53000": OUT_OF_RESOURCES, "53100": OUT_OF_RESOURCES, "53200": OUT_OF_RESOURCES, "53400": OUT_OF_RESOURCES,
    "58030": OUT_OF_RESOURCES, "58P01": SERVER_FAULT, "F0000": SERVER_FAULT, "XX000": SERVER_FAULT,
    "XX001": SERVER_FAULT, "55006": REFUSED, "40003": CONTENDED, "P0001": FAULT, "22003": FAULT,
    "08ABC": UNREACHABLE, "53ABC": OUT_OF_RESOURCES, "28ABC": REFUSED, "ZZ001": SERVER_FAULT,  # unknown to asyncpg
}  # fmt: skip


async def error_of(connection: asyncpg.Connection, statements: list[str]) -> Exception:
    with pytest.raises(Exception) as raised:
        for statement in statements:
            await connection.execute(statement)
    return raised.value


def check(error: BaseException, expected: DatabaseFailure, sqlstate: str | None = None) -> None:
    assert classify(error) is expected
    assert sqlstate in {None, getattr(error, "sqlstate", None)}
    assert isinstance(error, UNAVAILABLE) is expected.is_temporary, "loops that retry agree"
    assert not sqlstate or sqlstate in explain(error)


@pytest.mark.parametrize(("sqlstate", "expected", "statements"), STATEMENTS)
async def test_an_error_of_a_statement_is_classified_by_its_sqlstate(
    database_url, sqlstate, expected, statements
):
    connection = await postgres.connect(database_url)
    check(await error_of(connection, statements), expected, sqlstate)
    assert connection.is_useless is (expected in {READ_ONLY, OUTDATED})
    await connection.close()


async def test_a_raised_error_is_classified_by_its_sqlstate_or_its_class(database_url):
    connection = await postgres.connect(database_url)
    for sqlstate, expected in RAISED.items():
        error = await error_of(connection, [f"DO $$ BEGIN RAISE SQLSTATE '{sqlstate}'; END $$"])
        check(error, expected, sqlstate)
    await connection.close()


REFUSALS = [
    ("28000", "ALTER ROLE {role} NOLOGIN"),
    ("28000", "ALTER ROLE {role} RENAME TO {role}_x", "ALTER ROLE {role}_x RENAME TO {role}"),
    ("53300", "ALTER ROLE {role} CONNECTION LIMIT 0"),
    ("42501", "REVOKE CONNECT ON DATABASE {db} FROM PUBLIC"),
    ("3D000", "ALTER DATABASE {db} RENAME TO {db}_x", "ALTER DATABASE {db}_x RENAME TO {db}"),
    ("55000", "ALTER DATABASE {db} ALLOW_CONNECTIONS false"),
]


@pytest.mark.parametrize(("sqlstate", "statement", "heal"), [(*each, "")[:3] for each in REFUSALS])
async def test_a_refused_connection_is_temporary(operator: Operator, sqlstate, statement, heal):
    await operator.run(statement)
    try:
        with pytest.raises(asyncpg.PostgresError) as raised:
            await postgres.connect(operator.guest_url)
        check(raised.value, REFUSED, sqlstate)
    finally:
        if heal:
            await operator.run(heal)


async def test_a_missing_privilege_counts_as_refused(operator: Operator):
    guest = await postgres.connect(operator.guest_url)
    check(await error_of(guest, ["SELECT FROM users"]), REFUSED, "42501")
    await guest.close()


ENDS = ["idle_session_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"]


@pytest.mark.parametrize("setting", ENDS)
async def test_a_connection_that_the_server_ends_is_unreachable(database_url, setting):
    connection = await postgres.connect(database_url)
    await connection.execute(f"SET {setting} = 10")
    if "transaction" in setting:
        await connection.execute("BEGIN")
    await asyncio.sleep(0.1)
    check(await error_of(connection, ["SELECT 1"]), UNREACHABLE)


async def test_a_terminated_backend_is_unreachable(database_url, db):
    connection = await postgres.connect(database_url)
    waiting = asyncio.ensure_future(error_of(connection, ["SELECT pg_sleep(5)"]))
    pid = connection.get_server_pid()
    await asyncio.sleep(0.05)
    await db.execute("SELECT pg_terminate_backend($1)", pid)
    check(await waiting, UNREACHABLE)


async def test_locks_deadlocks_and_conflicts_are_contention(database_url, db):
    other = await postgres.connect(database_url)
    await db.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2)")
    async with db.transaction():
        await db.execute("UPDATE t SET id = 1 WHERE id = 1")
        check(await error_of(other, ["SELECT FROM t WHERE id = 1 FOR UPDATE NOWAIT"]), CONTENDED, "55P03")
        check(await error_of(other, ["SET lock_timeout = 10", "UPDATE t SET id = 1"]), CONTENDED, "55P03")
        await other.execute("SET lock_timeout = 0; BEGIN; UPDATE t SET id = 2 WHERE id = 2")
        waiting = asyncio.ensure_future(other.execute("UPDATE t SET id = 1 WHERE id = 1"))
        await asyncio.sleep(0.02)
        check(
            await error_of(db, ["SET LOCAL deadlock_timeout = 10", "UPDATE t SET id = 2"]), CONTENDED, "40P01"
        )
        await db.execute("ROLLBACK; BEGIN")
        await waiting
    await other.execute("ROLLBACK; BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT FROM t")
    await db.execute("UPDATE t SET id = 3 WHERE id = 1")
    check(await error_of(other, ["UPDATE t SET id = 4"]), CONTENDED, "40001")
    await other.close()


async def test_a_cached_plan_that_has_become_wrong_is_outdated(database_url, db):
    await db.execute("CREATE TABLE t (x int)")
    async with postgres.pool(database_url, size=1) as pool:
        async with pool.acquire() as connection, connection.transaction():
            await connection.fetch("SELECT * FROM t")
        await db.execute("ALTER TABLE t ALTER x TYPE text")
        with pytest.raises(asyncpg.InvalidCachedStatementError) as raised:
            async with pool.acquire() as connection, connection.transaction():
                await connection.fetch("SELECT * FROM t")
        check(raised.value, OUTDATED, "0A000")
        async with pool.acquire() as connection, connection.transaction():
            assert await connection.fetch("SELECT * FROM t") == []


async def test_a_full_queue_of_notifications_is_a_lack_of_resources(database_url, db):
    async with listener_that_does_not_read(database_url):
        connection = await postgres.connect(database_url)
        check(await fill_queue(connection), OUT_OF_RESOURCES)
        with pytest.raises(NotifyQueueFull):
            async with connection.transaction():
                await connection.execute("INSERT INTO partners (name) VALUES ('x'); NOTIFY x, 'y'")
    await postgres.check_server(connection)  # which drops what was read
    await connection.execute("NOTIFY x, 'y'")
    assert await connection.fetchval("SELECT count(*) FROM partners") == 0
    await connection.close()


@contextlib.asynccontextmanager
async def listener_that_does_not_read(url: str):
    """A client that listens and stays in a transaction: the server must keep all notifications for it."""
    listener = await asyncpg.connect(url)
    await listener.execute("LISTEN x")
    await listener.execute("BEGIN; SELECT 1")
    try:
        yield
    finally:
        await listener.close()


async def fill_queue(connection: asyncpg.Connection) -> Exception:
    """Send notifications until the server has no room for more."""
    large = "SELECT count(pg_notify('x', n || repeat('x', 7900))) FROM generate_series(1, 20) n"
    await error_of(connection, [large] * 30)
    return await error_of(connection, ["NOTIFY x, 'y'"] * 3000)


async def test_errors_of_the_driver_are_classified_without_their_text(database_url):
    connection = await postgres.connect(database_url)
    with pytest.raises(asyncpg.PostgresError) as raised:
        await connection.fetch("SELECT $1::int", "secret")
    check(raised.value, FAULT)
    assert "secret" not in str(raised.value)
    await connection.close()
    check(await error_of(connection, ["SELECT 1"]), UNREACHABLE)
    for error, expected in (
        (ConnectionRefusedError(), UNREACHABLE), (TimeoutError(), UNREACHABLE), (ValueError(), None),
        (asyncpg.TargetServerAttributeNotMatched("x"), READ_ONLY),
        (asyncpg.OutdatedSchemaCacheError("x"), OUTDATED),
    ):  # fmt: skip
        assert classify(error) is expected


async def test_errors_that_sqlalchemy_wraps_are_classified_like_the_others(database_url):
    async with sessions(database_url, pool_size=1) as sessionmaker:
        for statement, expected in (
            ("SELECT FROM no_such_table", OUTDATED),
            ("SELECT 1/0", FAULT),
            ("SELECT pg_terminate_backend(pg_backend_pid())", UNREACHABLE),
        ):
            with pytest.raises(DBAPIError) as raised:
                async with sessionmaker.begin() as session:
                    await session.execute(text(statement))
            assert classify(raised.value) is expected
