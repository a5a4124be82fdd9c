"""asyncpg connections and pools, which find the host that can be used, and drop connections that are of no use.

The idler and the dispatcher use only this module and never load SQLAlchemy; the API and the operators' commands
use `engine` as well.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, NoReturn, cast

import asyncpg

from superimap.core.postgres_url import CONNECT_TIMEOUT_SECONDS, connection_arguments
from superimap.db.array_types import BUILT_IN_ARRAYS, Described
from superimap.db.failures import UNAVAILABLE, InvalidArgument, NotifyQueueFull, classify

__all__ = ["CONNECT_TIMEOUT_SECONDS", "UNAVAILABLE", "DatabaseConnection", "connect", "pool", "transaction"]

STATEMENT_TIMEOUT_SECONDS = 30.0

SESSION_SETTINGS = {
    # A transaction that a stopped process leaves open must not hold a shard's row indefinitely.
    "idle_in_transaction_session_timeout": "60000",
    "lock_timeout": "20000",
}

# A connection ends when the server's machine has not answered for 10 s. Otherwise a statement on each connection
# would wait for its timeout after a machine or a network is lost, and as long again for its cancellation.
_SOCKET_OPTIONS = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 4),  # seconds without traffic before the first probe
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 2),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 10_000),  # milliseconds that sent data may stay unacknowledged
)


class DatabaseConnection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that knows when it is useless: on a server that is read-only now, or with outdated plans.

    Its pool drops it then. A new connection may reach another server, as after a failover.
    """

    __slots__ = ("is_useless",)

    def __init__(self, protocol: Any, transport: asyncio.Transport, *args: Any) -> None:
        super().__init__(protocol, transport, *args)
        self.is_useless = False
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            for level, name, value in _SOCKET_OPTIONS:
                if (option := getattr(socket, name, None)) is not None:  # not on every system
                    sock.setsockopt(level, option, value)

    async def execute(self, *args: Any, **arguments: Any) -> Any:
        """As asyncpg."""
        try:
            return await super().execute(*args, **arguments)
        except Exception as error:
            self._judge(error)

    async def fetch(self, *args: Any, **arguments: Any) -> Any:
        """As asyncpg."""
        try:
            return await super().fetch(*args, **arguments)
        except Exception as error:
            self._judge(error)

    async def fetchrow(self, *args: Any, **arguments: Any) -> Any:
        """As asyncpg."""
        try:
            return await super().fetchrow(*args, **arguments)
        except Exception as error:
            self._judge(error)

    async def fetchval(self, *args: Any, **arguments: Any) -> Any:
        """As asyncpg."""
        try:
            return await super().fetchval(*args, **arguments)
        except Exception as error:
            self._judge(error)

    async def _introspect_types(self, oids: Iterable[int], *args: Any) -> tuple[Any, Any]:
        """Describe types as asyncpg does, without its query to the server where they are known."""
        if all(oid in BUILT_IN_ARRAYS for oid in oids):
            return [BUILT_IN_ARRAYS[oid] for oid in oids], Described
        return cast(tuple[Any, Any], await super()._introspect_types(oids, *args))

    def _judge(self, error: Exception) -> NoReturn:
        """Raise the error, or a class that says more than its SQLSTATE."""
        failure = classify(error)
        if failure is not None and failure.makes_connection_useless:
            self.is_useless = True
        if (
            isinstance(error, asyncpg.DataError) and error.severity is None
        ):  # from asyncpg, not from the server
            raise InvalidArgument("an argument of a statement does not fit its parameter") from None
        # The SQLSTATE 54000 has other causes as well, which are not temporary.
        if isinstance(error, asyncpg.ProgramLimitExceededError) and error.server_source_filename == "async.c":
            raise NotifyQueueFull(str(error)) from None
        raise error


class Hosts:
    """The hosts of one DATABASE_URL. They are tried in turn, the one that was connected last comes first."""

    def __init__(self, dsns: tuple[str, ...]) -> None:
        self._dsns = dsns

    async def connect(
        self, *_: object, session_settings: Mapping[str, str], **arguments: Any
    ) -> asyncpg.Connection:
        """Connect to the first host that can be used. Each has the timeout for itself: one may never answer."""
        failure: BaseException | None = None
        for dsn in self._dsns:
            try:
                connection = await asyncpg.connect(dsn, **arguments)
                await _set(connection, session_settings, within=arguments["timeout"])
            except UNAVAILABLE as error:
                failure = error
                continue
            self._dsns = (dsn, *(each for each in self._dsns if each != dsn))
            return connection
        assert failure is not None  # noqa: S101 - there is one host at least
        raise failure


async def _set(connection: asyncpg.Connection, settings: Mapping[str, str], *, within: float) -> None:
    """Set parameters of a new session in one round trip. PgBouncer refuses most of them at the start."""
    try:
        statements = [f"SET {name} = '{value}'" for name, value in settings.items()]
        await connection.execute("; ".join(statements), timeout=within)
    except BaseException:
        connection.terminate()
        raise


@lru_cache(maxsize=8)
def _hosts(url: str) -> Hosts:
    return Hosts(connection_arguments(url).dsns)


async def connect(
    url: str,
    *,
    statement_timeout: float | None = STATEMENT_TIMEOUT_SECONDS,
    settings: Mapping[str, str] | None = None,
) -> asyncpg.Connection:
    """Open a connection, by the URL of the settings.

    `statement_timeout` is in seconds; None means no limit, which migrations need. `settings` are constants, and
    are added to SESSION_SETTINGS.
    """
    arguments = _arguments(url, settings or {})
    return await _hosts(url).connect(command_timeout=statement_timeout, **arguments)


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


@asynccontextmanager
async def pool(url: str, *, size: int) -> AsyncIterator[asyncpg.Pool]:
    """Open a pool of at most `size` connections; it connects on demand, so it starts without a server."""
    opened = asyncpg.create_pool(
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
