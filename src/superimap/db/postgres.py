"""asyncpg connections and pools, which find the host that can be used, and drop connections that are of no use.

The idler and the dispatcher use only this module and never load SQLAlchemy; the API and the operators' commands
use `engine` as well.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from typing import Any

import asyncpg

from superimap.core import metrics
from superimap.core.postgres_url import CONNECT_TIMEOUT_SECONDS, connection_arguments
from superimap.db.driver import SESSION_SETTINGS, DatabaseConnection
from superimap.db.failures import UNAVAILABLE
from superimap.db.poolers import PoolerMode, SessionNotKept, find_mode

__all__ = ["CONNECT_TIMEOUT_SECONDS", "UNAVAILABLE", "DatabaseConnection", "connect", "pool", "transaction"]

STATEMENT_TIMEOUT_SECONDS = 30.0


class Hosts:
    """The hosts of one DATABASE_URL. They are tried in turn, the one that was connected last comes first."""

    def __init__(self, dsns: tuple[str, ...]) -> None:
        self._dsns = dsns

    async def connect(
        self,
        *_: object,
        session_settings: Mapping[str, str],
        needs_session: bool = False,
        **arguments: Any,
    ) -> DatabaseConnection:
        """Connect to the first host that can be used. Each has the timeout for itself: one may never answer.

        Raises SessionNotKept if the connection needs a session and a pooler does not keep it.
        """
        failure: BaseException | None = None
        for dsn in self._dsns:
            try:
                connection = await _connect(dsn, session_settings, needs_session=needs_session, **arguments)
            except UNAVAILABLE as error:
                failure = error
                continue
            self._dsns = (dsn, *(each for each in self._dsns if each != dsn))
            return connection
        assert failure is not None  # noqa: S101 - there is one host at least
        raise failure


async def _connect(
    dsn: str, settings: Mapping[str, str], *, needs_session: bool, **arguments: Any
) -> DatabaseConnection:
    connection: DatabaseConnection = await asyncpg.connect(dsn, **arguments)
    try:
        await _adapt(connection, dsn, settings, needs_session=needs_session, arguments=arguments)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _adapt(
    connection: DatabaseConnection,
    dsn: str,
    settings: Mapping[str, str],
    *,
    needs_session: bool,
    arguments: Mapping[str, Any],
) -> None:
    """Set the parameters of the session, if the connection keeps it."""
    within: float = arguments["timeout"]
    if await connection.set_if_direct(settings, within=within):
        return
    mode = await find_mode(dsn, connection, connect=partial(asyncpg.connect, dsn, **arguments), within=within)
    if mode is PoolerMode.TRANSACTION and needs_session:
        raise SessionNotKept
    if mode is PoolerMode.SESSION or needs_session:
        await connection.set_for_session(settings, within=within)


@lru_cache(maxsize=8)
def _hosts(url: str) -> Hosts:
    return Hosts(connection_arguments(url).dsns)


async def connect(
    url: str,
    *,
    statement_timeout: float | None = STATEMENT_TIMEOUT_SECONDS,
    settings: Mapping[str, str] | None = None,
    needs_session: bool = False,
) -> DatabaseConnection:
    """Open a connection, by the URL of the settings.

    `statement_timeout` is in seconds; None means no limit, which migrations need. `settings` are constants, and
    are added to SESSION_SETTINGS; they need a session. Raises SessionNotKept if the connection needs a session, as
    LISTEN and locks do, and a pooler does not keep it.
    """
    arguments = _arguments(url, settings or {})
    return await _hosts(url).connect(
        command_timeout=statement_timeout, needs_session=needs_session, **arguments
    )


def _arguments(url: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments that connections and pools have in common."""
    found = connection_arguments(url)
    return {
        "timeout": found.timeout,
        "server_settings": {"timezone": "UTC", **found.server_settings},
        "session_settings": {**SESSION_SETTINGS, **settings},
        "connection_class": DatabaseConnection,
        **({"ssl": found.tls} if found.tls else {}),
    }


async def check_server(db: asyncpg.Connection) -> float:
    """Return the part of the queue of notifications that is used, from 0 to 1.

    Raises ReadOnlySQLTransactionError if this server is a standby or is read-only. A queue that was full stays
    full although every listener has read it, until this function of PostgreSQL makes it drop what was read.
    """
    is_read_only, usage = await db.fetchrow(
        "SELECT current_setting('transaction_read_only') = 'on', pg_notification_queue_usage()"
    )
    if is_read_only:
        raise asyncpg.ReadOnlySQLTransactionError("the server is read-only")
    return float(usage)


@asynccontextmanager
async def transaction(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection and a transaction on it; commit at the end, roll back on an error."""
    connection = await connect(url)
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_SECONDS)


async def _drop_if_useless(connection: DatabaseConnection) -> None:
    """Replace asyncpg's reset of a connection that returns to the pool, which costs a second round trip.

    There is nothing to reset: no statement of ours sets a parameter, locks or listens in its session.
    """
    if connection.is_useless:
        connection.terminate()


class MeasuredPool(asyncpg.Pool):  # type: ignore[misc]  # asyncpg has no types
    """Pool that measures how long a connection was waited for while none was left; otherwise it costs nothing."""

    def __init__(self, name: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._wait_seconds = metrics.POOL_WAIT_SECONDS.labels(name)

    def _acquire(self, timeout: float | None) -> Awaitable[Any]:
        return self._wait(timeout) if self._queue.empty() else super()._acquire(timeout)

    async def _wait(self, timeout: float | None) -> Any:  # noqa: ASYNC109 - that of asyncpg
        began = time.monotonic()
        try:
            return await super()._acquire(timeout)
        finally:
            self._wait_seconds.observe(time.monotonic() - began)


@asynccontextmanager
async def pool(url: str, *, size: int, name: str = "lanes") -> AsyncIterator[asyncpg.Pool]:
    """Open a pool of at most `size` connections; it connects on demand, so it starts without a server.

    `name` is its label in `superimap_pool_wait_seconds`.
    """
    opened = MeasuredPool(
        name,
        record_class=asyncpg.Record,
        init_size=0,
        max_queries=50_000,
        loop=None,
        setup=None,
        init=None,
        connect=_hosts(url).connect,
        min_size=0,
        max_size=size,
        command_timeout=STATEMENT_TIMEOUT_SECONDS,
        max_inactive_connection_lifetime=300,
        reset=_drop_if_useless,
        **_arguments(url, {}),
    )
    await opened
    try:
        yield opened
    finally:
        opened.terminate()
