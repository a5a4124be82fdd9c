"""A real PostgreSQL whose `now()` is simulated time, and the view of it that a process has until it is killed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any, Self, cast

import asyncpg

from trials.simulation.clock import SimulatedLoop, moment

# `now()` is found here because pg_catalog comes last in the search path.
_CLOCK = """
    CREATE SCHEMA IF NOT EXISTS simulation;
    CREATE OR REPLACE FUNCTION simulation.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
        SELECT coalesce(nullif(current_setting('simulation.now', true), '')::timestamptz, pg_catalog.now())
    $$;
"""
# Defaults of columns were bound to the real now() when the tables were created.
_DEFAULTS = """
    SELECT format('ALTER TABLE %I ALTER COLUMN %I SET DEFAULT simulation.now()', table_name, column_name)
    FROM information_schema.columns WHERE table_schema = 'public' AND column_default = 'now()'
"""


def clock_setting(now: float) -> str:
    """Return the statement by which a session gets the time of the loop."""
    return f"SET simulation.now = '{moment(now).isoformat()}'"


class Database:
    """One connection to PostgreSQL. Time stands still while a statement runs."""

    def __init__(self, connection: asyncpg.Connection, loop: SimulatedLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._turn = asyncio.Lock()
        self._told: float | None = None

    @classmethod
    async def open(cls, url: str, loop: SimulatedLoop) -> Self:
        """Connect, with simulated time as the time of all statements."""
        with loop.real_wait():
            settings = {"timezone": "UTC", "search_path": "simulation, public, pg_catalog"}
            connection = await asyncpg.connect(url, server_settings=settings)
        return cls(connection, loop)

    async def prepare(self) -> None:
        """Install the clock in a new database."""
        await self.ask("execute", _CLOCK)
        for row in await self.ask("fetch", _DEFAULTS):
            await self.ask("execute", row[0])

    async def ask(self, method: str, sql: str, *args: object) -> Any:
        """Call a method of asyncpg's connection."""
        with self._loop.real_wait():
            async with self._turn:
                now = self._loop.time()
                if now != self._told:
                    await self._connection.execute(clock_setting(now))
                    self._told = now
                return await getattr(self._connection, method)(sql, *args)

    async def close(self) -> None:
        """Close the connection."""
        with self._loop.real_wait():
            await self._connection.close()


class ProcessPool:
    """The pool of one simulated process. After `kill` the process has no effect and learns nothing.

    With the probability `loss` the answer to a statement is lost together with its connection.
    """

    def __init__(self, database: Database, rng: random.Random, *, loss: float) -> None:
        self._database = database
        self._rng = rng
        self._loss = loss
        self.is_dead = False
        self.running: set[asyncio.Task[Any]] = set()

    async def fetch(self, sql: str, *args: object, timeout: float | None = None) -> Any:
        return await self._ask("fetch", sql, *args)

    async def fetchrow(self, sql: str, *args: object, timeout: float | None = None) -> Any:
        return await self._ask("fetchrow", sql, *args)

    async def fetchval(self, sql: str, *args: object, timeout: float | None = None) -> Any:
        return await self._ask("fetchval", sql, *args)

    async def execute(self, sql: str, *args: object, timeout: float | None = None) -> Any:
        return await self._ask("execute", sql, *args)

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Self]:
        """A connection of the pool; there is but one, and it answers one statement at a time."""
        yield self

    async def _ask(self, method: str, sql: str, *args: object) -> Any:
        if self.is_dead:
            await forever()
        task = asyncio.ensure_future(self._database.ask(method, sql, *args))
        self.running.add(task)
        task.add_done_callback(self._forget)
        answer = await asyncio.shield(task)  # a killed client's statement runs to its end all the same
        if self.is_dead:
            await forever()
        if self._rng.random() < self._loss:
            raise asyncpg.ConnectionDoesNotExistError("simulated: the answer is lost")
        return answer

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self.running.discard(task)
        if not task.cancelled():
            task.exception()  # reported to the session, if it still lives

    @property
    def as_pool(self) -> asyncpg.Pool:
        """The pool as the type that the idler expects."""
        return cast(asyncpg.Pool, self)


async def forever() -> None:
    """Wait until cancelled."""
    await asyncio.get_running_loop().create_future()
