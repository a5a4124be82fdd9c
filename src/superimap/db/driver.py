"""The connection class of asyncpg that the whole program uses: settings, prepared statements, and errors."""

import asyncio
import socket
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, cast

import asyncpg

from superimap.db.array_types import BUILT_IN_ARRAYS, Described
from superimap.db.failures import (
    InvalidArgument,
    NotifyQueueFull,
    StatementChanged,
    classify,
    shows_other_types,
)
from superimap.db.poolers import forget_modes

SESSION_SETTINGS = {
    # A transaction that a stopped process leaves open must not hold a shard's row indefinitely.
    "idle_in_transaction_session_timeout": "60000",
    "lock_timeout": "20000",
}

MAX_KEPT_STATEMENTS = 200
"""Statements whose types a connection keeps while its session is shared; more than any process has."""

_LOST_STATEMENTS = ("26000", "42P05")  # of a pooler that did not keep the session, and was taken to keep it


def _set_statements(command: str, settings: Mapping[str, str]) -> str:
    return "; ".join(f"{command} {name} = '{value}'" for name, value in settings.items())


_BEGIN_SHARED = _set_statements("SET LOCAL", SESSION_SETTINGS)

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

    `is_shared`: each transaction may run in another session of PostgreSQL, behind a pooler in transaction mode.
    Until that is known, it is taken for shared: statements are parsed each time they run, and transactions begin
    with SESSION_SETTINGS.
    """

    __slots__ = ("_unprepared", "is_shared", "is_useless")

    def __init__(self, protocol: Any, transport: asyncio.Transport, *args: Any) -> None:
        super().__init__(protocol, transport, *args)
        self.is_useless = False
        self.is_shared = True
        self._unprepared: dict[object, Any] = {}
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            for level, name, value in _SOCKET_OPTIONS:
                if (option := getattr(socket, name, None)) is not None:  # not on every system
                    sock.setsockopt(level, option, value)

    async def set_if_direct(self, settings: Mapping[str, str], *, within: float) -> bool:
        """Set parameters of the session unless a pooler is between; returns whether this is PostgreSQL itself.

        One round trip. A pooler gives its clients other process ids than those of the sessions.
        """
        values = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items())
        status = await self.execute(
            f"SELECT {values} WHERE pg_backend_pid() = {self.get_server_pid()}", timeout=within
        )
        self.is_shared = status != "SELECT 1"
        return not self.is_shared

    async def set_for_session(self, settings: Mapping[str, str], *, within: float) -> None:
        """Set parameters of a session that a pooler keeps for this connection."""
        await self.execute(_set_statements("SET", settings), timeout=within)
        self.is_shared = False

    async def execute(self, query: str, *args: Any, **arguments: Any) -> Any:
        """As asyncpg."""
        if self.is_shared and query.startswith("BEGIN"):
            query = f"{query} {_BEGIN_SHARED}"
        try:
            return await super().execute(query, *args, **arguments)
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

    async def _get_statement(
        self, query: str, within: float | None, *, use_cache: bool = True, **options: Any
    ) -> Any:
        """Return the statement that asyncpg runs, for a shared session one without a name.

        Its types are kept, so that running it again is one message, in which it is parsed. PostgreSQL does not say
        that they have changed since, so what cannot be read with them makes the connection useless.
        """
        if not self.is_shared:
            return await super()._get_statement(query, within, use_cache=use_cache, **options)
        key = (query, options.get("record_class"), options.get("ignore_custom_codec"))
        statement = self._unprepared.get(key) if use_cache else None
        if statement is None:
            options["named"] = ""
            statement = await super()._get_statement(query, within, use_cache=False, **options)
            statement.mark_unprepared()
            if use_cache and len(self._unprepared) < MAX_KEPT_STATEMENTS:
                self._unprepared[key] = statement
        return statement

    async def _introspect_types(self, oids: Iterable[int], *args: Any) -> tuple[Any, Any]:
        """Describe types as asyncpg does, without its query to the server where they are known."""
        if all(oid in BUILT_IN_ARRAYS for oid in oids):
            return [BUILT_IN_ARRAYS[oid] for oid in oids], Described
        return cast(tuple[Any, Any], await super()._introspect_types(oids, *args))

    def _judge(self, error: Exception) -> NoReturn:
        """Raise the error, or a class that says more than its SQLSTATE."""
        if self.is_shared and shows_other_types(error):
            self.is_useless = True
            raise StatementChanged from None
        failure = classify(error)
        if failure is not None and failure.makes_connection_useless:
            self.is_useless = True
        if getattr(error, "sqlstate", None) in _LOST_STATEMENTS:
            forget_modes()
        if (
            isinstance(error, asyncpg.DataError) and error.severity is None
        ):  # from asyncpg, which has left the transaction open in which the statement was prepared
            self.is_useless = True
            raise InvalidArgument("an argument of a statement does not fit its parameter") from None
        # The SQLSTATE 54000 has other causes as well, which are not temporary.
        if isinstance(error, asyncpg.ProgramLimitExceededError) and error.server_source_filename == "async.c":
            raise NotifyQueueFull(str(error)) from None
        raise error
