"""SQLAlchemy engine and sessions of the API and the operators' commands, and the connections of asyncpg below."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.util import greenlet_spawn

from superimap.core import metrics
from superimap.db import postgres
from superimap.db.failures import DatabaseFailure, StatementChanged, classify, shows_other_types
from superimap.db.postgres import DatabaseConnection

UNTESTED_SECONDS = 1.0
"""A pooled connection that was used within this time is not tested before its use: a test is three round trips."""

_USED_AT = "superimap.used_at"
_BEGIN = text("SELECT")


def connector(
    url: str,
    *,
    statement_timeout: float | None = postgres.STATEMENT_TIMEOUT_SECONDS,
    needs_session: bool = False,
) -> Callable[..., Awaitable[Any]]:
    """Return an `async_creator` for SQLAlchemy that connects as the rest of the program does."""

    async def connect(*_: object, **__: object) -> Any:
        return await postgres.connect(url, statement_timeout=statement_timeout, needs_session=needs_session)

    return connect


class MeasuredQueuePool(AsyncAdaptedQueuePool):
    """Pool that measures how long a connection was waited for while none was left."""

    _sqla_logger_namespace = (
        "sqlalchemy.pool"  # as its base class: from `warning` on, whatever LOG_LEVEL says
    )

    def _do_get(self) -> ConnectionPoolEntry:
        if self.checkedout() < self.size():
            return super()._do_get()
        began = time.monotonic()
        try:
            return super()._do_get()
        finally:
            metrics.POOL_WAIT_SECONDS.labels(self.logging_name).observe(time.monotonic() - began)


def create_engine(url: str, *, pool_size: int = 5, name: str = "api") -> AsyncEngine:
    """Create an engine that tests a pooled connection before its use, and drops those that are useless.

    `name` is the label of its pool in `superimap_pool_wait_seconds`.
    """
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connector(url),
        poolclass=MeasuredQueuePool,
        pool_logging_name=name,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=postgres.CONNECT_TIMEOUT_SECONDS,
    )
    event.listen(engine.sync_engine, "handle_error", _drop_if_useless, retval=True)
    event.listen(engine.sync_engine, "connect", _note_use)
    event.listen(engine.sync_engine, "checkin", _note_use)
    event.listen(engine.sync_engine, "checkout", _test_before_use)
    return engine


def _note_use(_connection: Any, record: Any) -> None:
    record.info[_USED_AT] = time.monotonic()


def _test_before_use(connection: Any, record: Any, _proxy: object) -> None:
    """Replace the whole pool if this connection is closed or useless, or does not answer after a time unused."""
    driver: DatabaseConnection = connection.driver_connection
    if driver.is_closed() or driver.is_useless:
        raise InvalidatePoolError
    if time.monotonic() - record.info[_USED_AT] < UNTESTED_SECONDS:
        return
    try:
        connection.ping()
    except Exception as error:
        raise InvalidatePoolError from error


def _drop_if_useless(context: ExceptionContext) -> Exception | None:
    """Drop all connections of the pool with one that is read-only, or that has kept the types of statements.

    New ones may reach another server, or find other types. Returns the error that says so.
    """
    if shows_other_types(context.original_exception):
        context.is_disconnect = True
        return StatementChanged()
    if classify(context.original_exception) is DatabaseFailure.READ_ONLY:
        context.is_disconnect = True
    return None


@asynccontextmanager
async def sessions(
    url: str, *, pool_size: int = 5, name: str = "api"
) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """Open a session maker for this database; its pool is closed at the end. `name` is that of the pool."""
    engine = create_engine(url, pool_size=pool_size, name=name)
    try:
        yield async_sessionmaker(engine, expire_on_commit=False)
    finally:
        await engine.dispose()


@asynccontextmanager
async def driver_transaction(
    sessionmaker: async_sessionmaker[AsyncSession],
) -> AsyncIterator[asyncpg.Connection]:
    """Open a transaction of asyncpg on a connection of the same pool, without SQLAlchemy."""
    engine: AsyncEngine = sessionmaker.kw["bind"]
    pooled = await engine.raw_connection()
    driver = cast(DatabaseConnection, pooled.driver_connection)
    try:
        async with driver.transaction():
            yield driver
    finally:
        if driver.is_closed() or driver.is_useless or driver.is_in_transaction():
            pooled.invalidate()
        else:
            await greenlet_spawn(pooled.close)


async def driver_connection(db: AsyncSession) -> asyncpg.Connection:
    """Return the connection of asyncpg in a session's transaction, with all changes of the session flushed."""
    await db.flush()
    pooled = await (await db.connection()).get_raw_connection()
    driver = cast(DatabaseConnection, pooled.driver_connection)
    if not driver.is_in_transaction():
        await db.execute(_BEGIN)  # SQLAlchemy begins a transaction with its first statement
    return driver
