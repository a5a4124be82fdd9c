"""Connections to the test's database, and what an operator or a failure does to it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg
import pytest_asyncio

from fixtures.engines import database, execute

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Operator:
    """The test's database, a role of its own, and statements of an operator."""

    url: str  # as the superuser
    guest_url: str  # as the role
    role: str
    name: str

    async def run(self, *statements: str) -> None:
        """Run statements on another database of the server, as the superuser."""
        for statement in statements:
            await execute(database(self.url, "postgres"), statement.format(db=self.name, role=self.role))


@pytest_asyncio.fixture
async def operator(database_url: str) -> AsyncIterator[Operator]:
    """An operator; whatever was changed is as before at the end of the test."""
    role, parts = f"guest_{next(_numbers)}", urlsplit(database_url)
    name = parts.path.lstrip("/")
    guest_url = database_url.replace(f"//{parts.username}@", f"//{role}@")
    made = Operator(database_url, guest_url, role, name)
    await made.run("CREATE ROLE {role} LOGIN")
    yield made
    await made.run(
        "ALTER DATABASE {db} ALLOW_CONNECTIONS true",
        "ALTER DATABASE {db} RESET ALL",
    )
    await execute(database_url, f"DROP OWNED BY {role}")
    await made.run("DROP OWNED BY {role}", "DROP ROLE {role}")


@pytest_asyncio.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the superuser."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()
