"""Pools: connections that are open and of no use are replaced."""

from __future__ import annotations

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from superimap.db import postgres
from superimap.db.engine import sessions
from superimap.db.failures import DatabaseFailure, InvalidArgument, classify
from tests.integration.database.conftest import Operator

WRITE = "INSERT INTO partners (name) VALUES ('x')"


async def test_a_pool_drops_the_connections_that_it_made_while_the_server_was_read_only(operator: Operator):
    await operator.run("ALTER DATABASE {db} SET default_transaction_read_only = on")
    async with postgres.pool(operator.url, size=2) as pool:
        async with pool.acquire() as one, pool.acquire() as two:
            assert await one.fetchval("SELECT 1") == await two.fetchval("SELECT 1") == 1
        await operator.run("ALTER DATABASE {db} RESET ALL")
        failures = 0
        for _ in range(4):
            try:
                await pool.execute("UPDATE partners SET name = 'x' WHERE false")
            except asyncpg.ReadOnlySQLTransactionError:
                failures += 1

        assert failures <= 2, "one for each connection that was read-only"
        await pool.execute(WRITE)


async def test_a_session_maker_drops_them_as_well(operator: Operator):
    await operator.run("ALTER DATABASE {db} SET default_transaction_read_only = on")
    async with sessions(operator.url, pool_size=2) as sessionmaker:
        async with sessionmaker() as one, sessionmaker() as two:
            assert await one.scalar(text("SELECT 1")) == await two.scalar(text("SELECT 1")) == 1
        await operator.run("ALTER DATABASE {db} RESET ALL")
        with pytest.raises(DBAPIError) as raised:
            async with sessionmaker.begin() as session:
                await session.execute(text(WRITE))
        assert classify(raised.value) is DatabaseFailure.READ_ONLY

        for number in (1, 2):
            async with sessionmaker.begin() as session:
                await session.execute(text(f"INSERT INTO partners (name) VALUES ('{number}')"))


async def test_a_statement_in_a_transaction_drops_its_connection_too(operator: Operator):
    await operator.run("ALTER DATABASE {db} SET default_transaction_read_only = on")
    async with postgres.pool(operator.url, size=1) as pool:
        await pool.fetchval("SELECT 1")
        await operator.run("ALTER DATABASE {db} RESET ALL")
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            async with pool.acquire() as db, db.transaction():
                await db.execute(WRITE)

        async with pool.acquire() as db, db.transaction():
            await db.execute(WRITE)


async def test_an_argument_that_does_not_fit_leaves_no_lock_behind(
    operator: Operator, db: asyncpg.Connection
):
    """asyncpg has the statement prepared by then, in a transaction that only its execution would end."""
    async with postgres.pool(operator.url, size=2) as pool:
        with pytest.raises(InvalidArgument):
            await pool.fetchval("SELECT name FROM partners WHERE id = $1", 2**63)

        await db.execute("SET lock_timeout = '2s'")
        async with db.transaction():
            await db.execute("LOCK TABLE partners")
        assert await pool.fetchval("SELECT 1") == 1
