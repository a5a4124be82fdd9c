"""Presence of this idler, and the search for idlers that have ended.

Each idler holds a lock of its own on a connection that serves nothing else but notifications, and looks several
times a second whether the next idlers in the ring hold theirs. A killed process loses its lock at once, and its
shards a second later. A frozen process keeps its lock until its lease ends.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import asyncpg

from superimap.core.backoff import Backoff
from superimap.db import postgres
from superimap.db.postgres import UNAVAILABLE
from superimap.db.presence import IDLER_LOCK_SPACE, Absences, Presence
from superimap.db.watching import presence as cluster
from superimap.db.watching.presence import Server

log = logging.getLogger(__name__)

FEW_IDLERS = 3
"""The next idlers in the ring at which an idler looks; so the cost does not grow with the cluster."""
MANY_IDLERS = 1000
"""Idlers at which it looks while one is absent: several may have ended together."""
STATEMENT_TIMEOUT_SECONDS = 5.0
WITHDRAW_TIMEOUT_SECONDS = 1.0

# The server ends the session of an idler that is cut off after 10 s without an answer of its kernel. By then the
# idler has given up this connection and tries others, which take its lock as soon as the old session ends.
TCP_SETTINGS = {
    "tcp_keepalives_idle": "3",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "4",
    "tcp_user_timeout": "10000",
}


@dataclass(frozen=True, slots=True)
class PresenceTiming:
    """Times in seconds.

    `check` passes between two looks at other idlers, `check_alone` if there were none. `absence` is longer than a
    living process takes to open another connection. `return_` holds where many processes lost their connections
    at once: PostgreSQL was restarted, or this process lost its own.
    """

    check: float = 0.25
    check_alone: float = 1.0
    absence: float = 1.0
    return_: float = 3.0
    retry: float = 0.1
    longest_retry: float = 0.5


def absence_limit(server: Server, *, is_cautious: bool, interval: float, timing: PresenceTiming) -> float:
    """Return the seconds of absence after which an idler has ended, by the server on which it held its lock.

    `is_cautious` says that this process lost its own connection lately, as others may have. On another server,
    idlers have one heartbeat `interval` to find it.
    """
    if server is Server.OTHER:
        return max(interval, timing.return_)
    return timing.return_ if is_cautious or server is Server.RESTARTED else timing.absence


class PresenceKeeper:
    """Shows that this idler is alive, and ends the leases of idlers that are not.

    `on_connected` is called with each new connection. `pool` is used while none can be had. `interval` is that of
    heartbeats: the time that other idlers have for finding another server that took over.
    """

    def __init__(
        self,
        session_url: str,
        pool: asyncpg.Pool,
        idler: int,
        *,
        interval: float,
        on_connected: Callable[[asyncpg.Connection], Awaitable[None]] | None = None,
        timing: PresenceTiming | None = None,
    ) -> None:
        self._session_url = session_url
        self._pool = pool
        self._idler = idler
        self._interval = interval
        self._on_connected = on_connected
        self._timing = timing or PresenceTiming()
        self._presence = Presence(IDLER_LOCK_SPACE)
        self._backoff = Backoff(first=self._timing.retry, longest=self._timing.longest_retry)
        self._is_registered = False
        self._cautious_until = 0.0

    async def run(self) -> None:
        """Show the presence until cancelled. A lost connection is a lost lock: both are taken again."""
        while True:
            try:
                async with self._connected() as db:
                    await self._show(db)
                    await self._watch_others(db)
            except UNAVAILABLE as error:
                log.info("presence is not shown: %s", error)
                if self._presence.number is None:  # not even for a moment
                    await self._withdraw()
            self._presence.clear()
            self._cautious_until = time.monotonic() + self._interval
            await asyncio.sleep(self._backoff.next())

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of its own."""
        db = await postgres.connect(
            self._session_url,
            statement_timeout=STATEMENT_TIMEOUT_SECONDS,
            settings=TCP_SETTINGS,
            needs_session=True,
        )
        try:
            if self._on_connected is not None:
                await self._on_connected(db)
            yield db
        finally:
            db.terminate()

    async def _show(self, db: asyncpg.Connection) -> None:
        """Take the lock, which an earlier connection may hold for some seconds, and register it."""
        await self._presence.take_lock(db)
        while self._presence.number is None:
            await asyncio.sleep(self._timing.retry)
            await self._presence.take_lock(db)
        if await cluster.register(db, self._idler, number=self._presence.number):
            log.warning("this idler was taken for dead; others may have taken its shards")
        self._is_registered = True
        self._backoff.reset()

    async def _watch_others(self, db: asyncpg.Connection) -> None:
        """Look for idlers that have ended, until the connection is lost."""
        absences, limit = Absences(), FEW_IDLERS
        while True:
            others = await cluster.look_at_next(db, self._idler, limit=limit)
            absent = {idler: server for idler, server in others.items() if server is not None}
            limit = MANY_IDLERS if absent else FEW_IDLERS
            is_cautious = time.monotonic() < self._cautious_until
            dead = absences.record(
                {
                    idler: absence_limit(
                        server, is_cautious=is_cautious, interval=self._interval, timing=self._timing
                    )
                    for idler, server in absent.items()
                }
            )
            for idler in await cluster.mark_absent(db, dead) if dead else ():
                log.warning("idler no longer exists; its shards are free", extra={"idler": idler})
            await asyncio.sleep(self._timing.check if others else self._timing.check_alone)

    async def _withdraw(self) -> None:
        """Let only the lease count while no connection can be had, for example because there are too many."""
        if not self._is_registered:
            return
        with contextlib.suppress(*UNAVAILABLE):
            async with asyncio.timeout(WITHDRAW_TIMEOUT_SECONDS):
                await cluster.withdraw(self._pool, self._idler)
                self._is_registered = False
