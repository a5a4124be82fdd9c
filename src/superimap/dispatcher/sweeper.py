"""What finds deliveries that nothing rings for? One process at a time looks every second.

It puts deliveries back whose lease ran out or whose dispatcher is gone, rings endpoints with overdue ones, finds
users who are stalled, and purges what is old. Where Redis is away its rings fail, and it starts the lanes in its
own process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg

from superimap.core import metrics
from superimap.db import postgres
from superimap.db.delivery import liveness, sweeping
from superimap.dispatcher.cluster_metrics import ClusterMetrics
from superimap.dispatcher.lanes.runner import DATABASE_ERRORS, Lanes
from superimap.dispatcher.presence import SPACE, Absences, Presence
from superimap.dispatcher.timings import DispatcherTimings
from superimap.doorbells.redis import EndpointDoorbell

log = logging.getLogger(__name__)

LOCK = 0x5349_4D41_5053_5750  # "SIMAPSWP": the advisory lock of the sweeper that is at work


@dataclass(frozen=True, slots=True)
class Retention:
    """Days for which content of failures, and rows of all that is settled, are kept."""

    content_days: float
    row_days: float


class Sweeper:
    """Sweeps while it holds the lock; until then it tries for it. Its connection also shows our presence."""

    def __init__(
        self,
        database_url: str,
        queue: EndpointDoorbell,
        lanes: Lanes,
        presence: Presence,
        lookout: ClusterMetrics,
        *,
        pace: DispatcherTimings,
        retention: Retention,
        stalled_after: float,
    ) -> None:
        self._database_url = database_url
        self._presence = presence
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
            except DATABASE_ERRORS as error:
                log.warning("the sweeper lost the database: %s", error)
                await _pause(stop, self._pace.sweep)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of its own, which the server ends if this process stands still, so that another sweeps."""
        idle_ms = str(int(10 * self._pace.sweep * 1000))
        db = await asyncpg.connect(
            self._database_url,
            timeout=postgres.CONNECT_TIMEOUT_SECONDS,
            command_timeout=postgres.STATEMENT_TIMEOUT_SECONDS,
            server_settings={**postgres.SERVER_SETTINGS, "idle_session_timeout": idle_ms},
        )
        try:
            yield db
        finally:
            self._presence.hide()
            db.terminate()

    async def _sweep_on(self, db: asyncpg.Connection, stop: asyncio.Event) -> None:
        is_ours, absences = False, Absences(patience=self._pace.gone)
        # If the database was away, idlers could not write what they have heard.
        self._stall_at = time.monotonic() + self._pace.hearing
        try:
            while not stop.is_set():
                await self._presence.show(db)
                is_ours = is_ours or await db.fetchval("SELECT pg_try_advisory_lock($1)", LOCK)
                if is_ours:
                    await self._release(db, absences)
                    await self._ring(db)
                    await self._stall(db)
                    await self._purge(db)
                    await self._lookout.look(db)
                await _pause(stop, self._pace.sweep)
        finally:
            metrics.OVERDUE_SECONDS.set(0)
            self._lookout.leave()

    async def _release(self, db: asyncpg.Connection, absences: Absences) -> None:
        if expired := await sweeping.release_expired(db):
            log.warning("deliveries are sent again, their leases ran out", extra={"deliveries": expired})
        dead = absences.seen(await sweeping.absent_holders(db, space=SPACE))
        if dead and (held := await sweeping.release_held(db, dead)):
            log.warning("deliveries are sent again, their dispatcher is gone", extra={"deliveries": held})

    async def _ring(self, db: asyncpg.Connection) -> None:
        overdue = await sweeping.overdue_endpoints(
            db, per_partner=self._lanes.share, ailing=self._lanes.ailing_share
        )
        metrics.SWEEPS.inc()
        metrics.OVERDUE_SECONDS.set(max((each.late for each in overdue), default=0.0))
        silent = [each for each in overdue if each.is_to_ring]
        rung = await asyncio.gather(
            *(self._queue.ring(each.endpoint_id, is_late=each.late > self._pace.late) for each in silent)
        )
        for each, is_rung in zip(silent, rung, strict=True):
            if not is_rung:
                self._lanes.start(each.endpoint_id)

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
        kept = self._retention
        if time.monotonic() < self._purge_at:
            if not kept.content_days:  # what failed is erased as it is recorded; this is what was cancelled
                await sweeping.erase_old_content(db, days=0)
            return
        removed = (
            await sweeping.fail_disabled(db, days=kept.content_days),
            await sweeping.erase_old_content(db, days=kept.content_days),
            await sweeping.delete_old_deliveries(db, days=kept.row_days),
            await sweeping.delete_old_messages(db, days=kept.row_days),
            await liveness.delete_old_events(db, days=kept.row_days),
        )
        if not any(removed):
            self._purge_at = time.monotonic() + self._pace.purge
        else:
            names = ("disabled", "contents", "deliveries", "messages", "user_events")
            log.info("purged", extra=dict(zip(names, removed, strict=True)))


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
