"""Sweeper: finds the deliveries for which no doorbell rang. One process at a time sweeps, every second.

It releases deliveries whose lease has expired or whose dispatcher no longer exists, and rings endpoints with
overdue deliveries. While its rings fail or are not heard, whatever the reason, it starts lanes in its own process.
The process that sweeps also does the housekeeping, on other connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

import asyncpg

from superimap.core import metrics
from superimap.core.health import Readiness
from superimap.core.runtime import wait_for_stop
from superimap.db import postgres
from superimap.db.delivery import sweeping
from superimap.db.failures import explain
from superimap.db.presence import DISPATCHER_LOCK_SPACE, Absences, Presence
from superimap.dispatcher.hearing import DoorbellHearing
from superimap.dispatcher.housekeeping import Housekeeping
from superimap.dispatcher.lanes.runner import DATABASE_ERRORS, Lanes
from superimap.dispatcher.timings import DispatcherTimings
from superimap.doorbells.redis import EndpointDoorbell

log = logging.getLogger(__name__)

SWEEPER_LOCK_KEY = 0x5349_4D41_5053_5750  # "SIMAPSWP": the advisory lock of the process that sweeps

SILENT_SWEEPS = 10
"""Intervals without a message after which the process that sweeps counts as stopped, and its connection ends."""

REPORTED_QUEUE_USAGE = 0.5


class Sweeper:
    """Sweeps while it holds the lock, and tries to take the lock until then.

    Its connection also shows the presence of this dispatcher.
    """

    def __init__(
        self,
        session_url: str,
        doorbell: EndpointDoorbell,
        lanes: Lanes,
        presence: Presence,
        housekeeping: Housekeeping,
        *,
        timings: DispatcherTimings,
        health: Readiness,
    ) -> None:
        self._session_url = session_url
        self._doorbell = doorbell
        self._lanes = lanes
        self._presence = presence
        self._housekeeping = housekeeping
        self._timings = timings
        self._health = health
        self._hearing = DoorbellHearing(doorbell, health)
        self._next_look = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep until `stop`. A lost connection is a lost lock: both are taken again."""
        while not stop.is_set():
            try:
                async with self._connected() as db:
                    await self._sweep_on(db, stop)
            except DATABASE_ERRORS as error:
                log.warning("sweeper lost its database connection: %s", error)
                self._health.set_fault("database", explain(error))
                await wait_for_stop(stop, self._timings.sweep_interval)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of its own. It ends if this process stops working, and another one sweeps."""
        idle_ms = str(int(SILENT_SWEEPS * self._timings.sweep_interval * 1000))
        db = await postgres.connect(
            self._session_url, settings={"idle_session_timeout": idle_ms}, needs_session=True
        )
        try:
            yield db
        finally:
            self._presence.clear()
            db.terminate()

    async def _sweep_on(self, db: asyncpg.Connection, stop: asyncio.Event) -> None:
        holds_lock, absences, connected_at = False, Absences(), time.monotonic()
        try:
            while not stop.is_set():
                # First: a lock on a standby would be seen by no other dispatcher.
                self._report_queue(await postgres.check_server(db))
                await self._presence.take_lock(db)
                if not holds_lock and await self._take_lock(db):
                    holds_lock = True
                    self._housekeeping.begin(connected_at=connected_at)
                if holds_lock:
                    await self._release_leases(db, absences)
                    await self._ring_overdue(db)
                self._health.set_fault("database", None)
                await wait_for_stop(stop, self._timings.sweep_interval)
        finally:
            metrics.OVERDUE_SECONDS.set(0)
            self._housekeeping.end()
            self._hearing.clear()

    async def _take_lock(self, db: asyncpg.Connection) -> bool:
        """Try to take the lock; now and then, look whether the process that holds it has stopped."""
        if await db.fetchval("SELECT pg_try_advisory_lock($1)", SWEEPER_LOCK_KEY):
            return True
        now, silence = time.monotonic(), SILENT_SWEEPS * self._timings.sweep_interval
        if now >= self._next_look:
            self._next_look = now + silence
            if await sweeping.end_silent_holder(db, key=SWEEPER_LOCK_KEY, after=silence):
                log.warning("the dispatcher that sweeps is silent; its connection was ended")
        return False

    def _report_queue(self, usage: float) -> None:
        """Note a queue of notifications that fills up: changes of users are refused once it is full."""
        text = f"the queue is {usage:.0%} full; a client of PostgreSQL listens within a long transaction"
        self._health.set_note("notifications", text if usage > REPORTED_QUEUE_USAGE else None)

    async def _release_leases(self, db: asyncpg.Connection, absences: Absences) -> None:
        has_expired, absent = await sweeping.survey_leases(db, space=DISPATCHER_LOCK_SPACE)
        if has_expired and (expired := await sweeping.release_expired(db)):
            log.warning("leases expired; the deliveries are sent again", extra={"deliveries": expired})
        dead = absences.record(dict.fromkeys(absent, self._timings.absence_limit))
        if dead and (held := await sweeping.release_held(db, dead)):
            log.warning(
                "dispatcher no longer exists; its deliveries are sent again", extra={"deliveries": held}
            )

    async def _ring_overdue(self, db: asyncpg.Connection) -> None:
        limits = self._lanes.limits
        overdue = await sweeping.overdue_endpoints(
            db, per_partner=limits.partner_slots, unhealthy=limits.unhealthy_slots
        )
        metrics.SWEEPS.inc()
        metrics.OVERDUE_SECONDS.set(max((each.late for each in overdue), default=0.0))
        to_ring = [each for each in overdue if each.is_to_ring]
        late_after = self._timings.late_after
        await self._hearing.probe(is_busy=self._lanes.is_full)
        rung = await asyncio.gather(
            *(self._doorbell.ring(each.endpoint_id, is_late=each.late > late_after) for each in to_ring)
        )
        for each, is_rung in zip(to_ring, rung, strict=True):
            if not is_rung or self._hearing.is_unheard(each.endpoint_id):
                self._lanes.start(each.endpoint_id)
        self._hearing.record_rings(each.endpoint_id for each in to_ring)
