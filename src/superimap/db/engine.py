"""How a process reaches PostgreSQL: one pool, used raw on hot paths and through SQLAlchemy elsewhere."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

CONNECT_TIMEOUT = 5.0
STATEMENT_TIMEOUT = 30.0

# What a lost, refused, exhausted or contended database raises: worth another try later.
UNAVAILABLE: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # of a connection that broke in the middle of something
    asyncpg.CannotConnectNowError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,  # a deadlock, and it was ours that was ended
    asyncpg.LockNotAvailableError,  # somebody kept it for longer than `lock_timeout`
)


def connector(
    url: str, *, statement_timeout: float | None = STATEMENT_TIMEOUT
) -> Callable[..., Awaitable[Any]]:
    """An `async_creator` for SQLAlchemy: connects by asyncpg's own reading of the URL, sockets included.

    `statement_timeout` in seconds; None lets a migration take the time that it takes.
    """

    async def connect(*_: object, **__: object) -> Any:
        return await asyncpg.connect(
            url, timeout=CONNECT_TIMEOUT, command_timeout=statement_timeout, server_settings=SERVER_SETTINGS
        )

    return connect


SERVER_SETTINGS = {
    "application_name": "superimap",
    "timezone": "UTC",
    # A transaction left open by a stopped process must not hold a shard's row for ever.
    "idle_in_transaction_session_timeout": "60000",
    "lock_timeout": "20000",
}


def create_engine(url: str, *, pool_size: int = 5) -> AsyncEngine:
    """A SQLAlchemy engine whose connections are tested before use."""
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connector(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=True,
        pool_timeout=CONNECT_TIMEOUT,
    )


@asynccontextmanager
async def sessions(url: str, *, pool_size: int = 5) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """A session maker for this database, its pool closed at the end."""
    engine = create_engine(url, pool_size=pool_size)
    try:
        yield async_sessionmaker(engine, expire_on_commit=False)
    finally:
        await engine.dispose()


async def _as_it_is(_connection: asyncpg.Connection) -> None:
    """Nothing is left on a connection that goes back: no statement of ours sets, locks or listens in its session.

    asyncpg's own reset is a second round trip after each statement.
    """


@asynccontextmanager
async def pool(url: str, *, size: int) -> AsyncIterator[asyncpg.Pool]:
    """A raw asyncpg pool for hot paths; opens connections when needed, so it starts without a server."""
    opened = asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size,
        timeout=CONNECT_TIMEOUT,
        command_timeout=STATEMENT_TIMEOUT,
        max_inactive_connection_lifetime=300,
        server_settings=SERVER_SETTINGS,
        reset=_as_it_is,
    )
    await opened
    try:
        yield opened
    finally:
        opened.terminate()
