"""Watch over the backlogs of partners: measured in the dispatcher that sweeps, compared with the quotas."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import asyncpg

from superimap.core import metrics
from superimap.core.runtime import wait_for_stop
from superimap.db.delivery import backlogs
from superimap.db.failures import explain
from superimap.dispatcher.lanes.runner import DATABASE_ERRORS
from superimap.domain.quotas import Quota

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 10.0
RETRY_SECONDS = 1.0
"""Pause after a round that failed."""
MAX_SHARE = 0.05
"""Share of the time that measuring one partner may take: large backlogs are measured less often."""


class BacklogWatch:
    """Measures each backlog every INTERVAL_SECONDS while `is_active`; others only test their pool.

    Two that measure at once, as when another dispatcher begins to sweep, record the same. `report` is called with
    the reason when this fails, and with None after a success: lanes use this pool as well.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        max_rows: int,
        max_bytes: int,
        is_active: Callable[[], bool] = lambda: True,
        report: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._pool = pool
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._is_active = is_active
        self._report = report
        self._not_before: dict[int, float] = {}
        self._rows: dict[int, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Measure until `stop`. Errors of the database end a round, not the watch."""
        while not stop.is_set():
            pause = INTERVAL_SECONDS
            try:
                await self.measure_all()
                self._report(None)
            except DATABASE_ERRORS as error:
                log.warning("backlogs not measured: %s", error)
                self._report(explain(error))
                pause = min(pause, RETRY_SECONDS)
            await wait_for_stop(stop, pause)

    async def measure_all(self) -> None:
        """Do one round, if this process does."""
        async with self._pool.acquire() as db:
            if self._is_active():
                await self._measure_all(db)
                return
            await db.fetchval("SELECT 1")
            self._not_before, self._rows = {}, {}
            _set_metrics({}, owed=0)

    async def _measure_all(self, db: asyncpg.Connection) -> None:
        due: dict[int, float] = {}
        for partner_id in await backlogs.list_partners(db):
            began = time.monotonic()
            not_before = self._not_before.get(partner_id, 0.0)
            if began >= not_before:
                await self._measure(db, partner_id)
                ended = time.monotonic()
                not_before = ended + (ended - began) / MAX_SHARE
            due[partner_id] = not_before
        self._not_before = due
        self._rows = {partner_id: rows for partner_id, rows in self._rows.items() if partner_id in due}
        _set_metrics(await backlogs.count_at_quota(db), owed=sum(self._rows.values()))

    async def _measure(self, db: asyncpg.Connection, partner_id: int) -> None:
        try:
            self._rows[partner_id] = await backlogs.measure(
                db, partner_id, max_rows=self._max_rows, max_bytes=self._max_bytes
            )
        except TimeoutError:  # the others are measured all the same
            log.warning("a backlog takes too long to measure", extra={"partner_id": partner_id})


def _set_metrics(counts: dict[str, int], *, owed: int) -> None:
    metrics.OWED.set(owed)
    for quota in Quota:
        if quota is not Quota.REQUESTS_PER_SECOND:
            metrics.PARTNERS_AT_QUOTA.labels(quota.value).set(counts.get(quota.value, 0))
