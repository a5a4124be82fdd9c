"""SQLAlchemy engine and sessions of the API and the operators' commands."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from superimap.db import postgres
from superimap.db.failures import DatabaseFailure, classify


def connector(
    url: str, *, statement_timeout: float | None = postgres.STATEMENT_TIMEOUT_SECONDS
) -> Callable[..., Awaitable[Any]]:
    """Return an `async_creator` for SQLAlchemy that connects as the rest of the program does."""

    async def connect(*_: object, **__: object) -> Any:
        return await postgres.connect(url, statement_timeout=statement_timeout)

    return connect


def create_engine(url: str, *, pool_size: int = 5) -> AsyncEngine:
    """Create an engine that tests a pooled connection before each use, and drops those that are useless."""
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connector(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=True,
        pool_timeout=postgres.CONNECT_TIMEOUT_SECONDS,
    )
    event.listen(engine.sync_engine, "handle_error", _drop_if_read_only)
    return engine


def _drop_if_read_only(context: ExceptionContext) -> None:
    """Drop all connections of the pool with one that is read-only: new ones may reach another server."""
    if classify(context.original_exception) is DatabaseFailure.READ_ONLY:
        context.is_disconnect = True


@asynccontextmanager
async def sessions(url: str, *, pool_size: int = 5) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """Open a session maker for this database; its pool is closed at the end."""
    engine = create_engine(url, pool_size=pool_size)
    try:
        yield async_sessionmaker(engine, expire_on_commit=False)
    finally:
        await engine.dispose()
