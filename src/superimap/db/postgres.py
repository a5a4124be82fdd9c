"""asyncpg connections and pools, and the errors that mean that PostgreSQL is unavailable.

The idler and the dispatcher use only this module and never load SQLAlchemy; the API and the operators' commands
use `engine` as well.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

CONNECT_TIMEOUT_SECONDS = 5.0
STATEMENT_TIMEOUT_SECONDS = 30.0

# Errors of a lost, refused, exhausted or contended database: the same statement may succeed later.
UNAVAILABLE: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection broke in the middle of an operation
    asyncpg.CannotConnectNowError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,  # a deadlock that PostgreSQL resolved by cancelling our transaction
    asyncpg.LockNotAvailableError,  # another transaction held the lock for longer than `lock_timeout`
)

SERVER_SETTINGS = {
    "application_name": "superimap",
    "timezone": "UTC",
    # A transaction that a stopped process leaves open must not hold a shard's row indefinitely.
    "idle_in_transaction_session_timeout": "60000",
    "lock_timeout": "20000",
}


async def connect(
    url: str, *, statement_timeout: float | None = STATEMENT_TIMEOUT_SECONDS
) -> asyncpg.Connection:
    """Open a connection. asyncpg parses the URL itself, so Unix sockets work too.

    `statement_timeout` is in seconds; None means no limit, which migrations need.
    """
    return await asyncpg.connect(
        url,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=statement_timeout,
        server_settings=SERVER_SETTINGS,
    )


@asynccontextmanager
async def transaction(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection and a transaction on it; commit at the end, roll back on an error."""
    connection = await connect(url)
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_SECONDS)


async def _skip_reset(_connection: asyncpg.Connection) -> None:
    """Replace asyncpg's reset of a connection that returns to the pool, which costs a second round trip.

    There is nothing to reset: no statement of ours sets a parameter, locks or listens in its session.
    """


@asynccontextmanager
async def pool(url: str, *, size: int) -> AsyncIterator[asyncpg.Pool]:
    """Open a pool of at most `size` connections; it connects on demand, so it starts without a server."""
    opened = asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=STATEMENT_TIMEOUT_SECONDS,
        max_inactive_connection_lifetime=300,
        server_settings=SERVER_SETTINGS,
        reset=_skip_reset,
    )
    await opened
    try:
        yield opened
    finally:
        opened.terminate()
