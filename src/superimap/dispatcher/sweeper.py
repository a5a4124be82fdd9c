"""What finds deliveries that nothing rings for? One process at a time looks every second.

It puts deliveries back whose lease ran out, rings endpoints with overdue ones, finds users who are stalled, and
purges what is old. Where Redis
is away its rings fail, and it starts the lanes in its own process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg

from superimap import metrics
from superimap.db import engine
from superimap.db.queries import deliveries, liveness
from superimap.dispatcher.lane import FAULTS, Lanes
from superimap.dispatcher.lookout import Lookout
from superimap.dispatcher.pace import Pace
from superimap.queue import Queue

log = logging.getLogger(__name__)

LOCK = 0x5349_4D41_5053_5750  # "SIMAPSWP": the advisory lock of the sweeper that is at work


@dataclass(frozen=True, slots=True)
class Retention:
    """Days for which content of failures, and rows of all that is settled, are kept."""

    content_days: float
    row_days: float


class Sweeper:
    """Sweeps while it holds the lock; until then it tries for it."""

    def __init__(
        self,
        database_url: str,
        queue: Queue,
        lanes: Lanes,
        *,
        pace: Pace,
        retention: Retention,
        stalled_after: float,
        lookout: Lookout,
    ) -> None:
        self._database_url = database_url
        self._queue = queue
        self._lanes = lanes
        self._pace = pace
        self._retention = retention
        self._stalled_after = stalled_after
        self._lookout = lookout
        self._purge_at = 0.0
        self._stall_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep until `stop`. A lost connection is a lost lock: both are had again."""
        while not stop.is_set():
            try:
                async with self._connected() as db:
                    await self._sweep_on(db, stop)
            except FAULTS as error:
                log.warning("the sweeper lost the database: %s", error)
                await _pause(stop, self._pace.sweep)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of its own, which the server ends if this process stands still, so that another sweeps."""
        idle_ms = str(int(10 * self._pace.sweep * 1000))
        db = await asyncpg.connect(
            self._database_url,
            timeout=engine.CONNECT_TIMEOUT,
            command_timeout=engine.STATEMENT_TIMEOUT,
            server_settings={**engine.SERVER_SETTINGS, "idle_session_timeout": idle_ms},
        )
        try:
            yield db
        finally:
            db.terminate()

    async def _sweep_on(self, db: asyncpg.Connection, stop: asyncio.Event) -> None:
        is_ours = False
        # If the database was away, idlers could not write what they have heard.
        self._stall_at = time.monotonic() + self._pace.hearing
        try:
            while not stop.is_set():
                is_ours = is_ours or await db.fetchval("SELECT pg_try_advisory_lock($1)", LOCK)
                if is_ours:
                    await self._sweep(db)
                    await self._stall(db)
                    await self._purge(db)
                    await self._lookout.look(db)
                await _pause(stop, self._pace.sweep)
        finally:
            metrics.OVERDUE.set(0)
            self._lookout.leave()

    async def _sweep(self, db: asyncpg.Connection) -> None:
        if expired := await deliveries.release_expired(db):
            log.warning("deliveries are sent again, their leases ran out", extra={"deliveries": expired})
        overdue = await deliveries.overdue_endpoints(db)
        metrics.SWEEPS.inc()
        metrics.OVERDUE.set(max((late for _, late in overdue), default=0.0))
        rung = await asyncio.gather(
            *(self._queue.ring(endpoint_id, is_late=late > self._pace.late) for endpoint_id, late in overdue)
        )
        for (endpoint_id, _), is_rung in zip(overdue, rung, strict=True):
            if not is_rung:
                self._lanes.start(endpoint_id)

    async def _stall(self, db: asyncpg.Connection) -> None:
        """One batch a sweep, so that sweeping goes on; a rest when all is done."""
        if time.monotonic() < self._stall_at:
            return
        if stalled := await liveness.stall(db, after=self._stalled_after):
            log.warning("users are stalled", extra={"users": stalled})
        else:
            self._stall_at = time.monotonic() + self._pace.stalls

    async def _purge(self, db: asyncpg.Connection) -> None:
        """One batch of each a sweep, so that sweeping goes on; an hour's rest when all is done."""
        if time.monotonic() < self._purge_at:
            return
        kept = self._retention
        removed = (
            await deliveries.erase_old_content(db, days=kept.content_days),
            await deliveries.delete_old_deliveries(db, days=kept.row_days),
            await deliveries.delete_old_messages(db, days=kept.row_days),
            await liveness.delete_old_events(db, days=kept.row_days),
        )
        if not any(removed):
            self._purge_at = time.monotonic() + self._pace.purge
        else:
            log.info(
                "purged",
                extra=dict(zip(("contents", "deliveries", "messages", "user_events"), removed, strict=True)),
            )


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
