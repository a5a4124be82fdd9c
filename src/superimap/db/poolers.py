"""Poolers between this program and PostgreSQL: whether a connection keeps its session there.

In transaction mode, as PgBouncer calls it, each transaction of a connection may run in another session of
PostgreSQL. Named prepared statements, parameters of the session, LISTEN and advisory locks are lost between them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any

import asyncpg

from superimap.core.errors import SuperImapError

MODE_PROBES = 20
"""Looks at the session, after which a pooler that showed no change keeps it; more than two random ones differ."""

SessionAsker = Callable[[], Awaitable[Any]]
"""Returns the process id of the session that runs it."""


class SessionNotKept(SuperImapError):
    """A connection that needs a session of its own was given a pooler in transaction mode."""

    def __init__(self) -> None:
        super().__init__(
            "DATABASE_URL leads to a pooler in transaction mode, and DATABASE_SESSION_URL is not set or does as "
            "well. Notifications, locks and migrations need a session: set DATABASE_SESSION_URL to PostgreSQL "
            "itself, or to a pooler in session mode."
        )


class PoolerMode(Enum):
    """What a pooler does with the session of a connection between two transactions."""

    SESSION = "kept"
    TRANSACTION = "shared"
    UNKNOWN = "unknown"  # nothing was left for a second connection


_modes: dict[str, PoolerMode] = {}


def forget_modes() -> None:
    """Find the modes again: a pooler behaved otherwise than it did, as after a change of its settings."""
    _modes.clear()


async def find_mode(
    dsn: str,
    first: asyncpg.Connection,
    *,
    connect: Callable[[], Awaitable[asyncpg.Connection]],
    within: float,
) -> PoolerMode:
    """Return the mode of the pooler that `first` is connected to; `connect` opens a second connection to it.

    It is remembered for this DSN.
    """
    if dsn not in _modes:
        try:
            async with asyncio.timeout(within):
                second = await connect()
                try:
                    is_shared = await share_sessions(_asker(first), _asker(second))
                finally:
                    await second.close()
        except TimeoutError:
            return PoolerMode.UNKNOWN
        _modes[dsn] = PoolerMode.TRANSACTION if is_shared else PoolerMode.SESSION
    return _modes[dsn]


async def share_sessions(*askers: SessionAsker) -> bool:
    """Whether open connections run in one session in turn, or one of them in several.

    A pooler without other clients gives both the session that was used last.
    """
    seen = [await ask() for ask in askers]
    for _ in range(MODE_PROBES):
        number = random.randrange(len(askers))  # noqa: S311 - in no order that a rotation could follow
        if len(set(seen)) < len(seen) or await askers[number]() != seen[number]:
            return True
    return False


def _asker(connection: asyncpg.Connection) -> SessionAsker:
    return lambda: connection.fetchval("SELECT pg_backend_pid()")
