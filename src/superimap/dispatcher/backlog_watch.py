"""Watch over the backlogs of partners: measured in one dispatcher, compared with the quotas."""

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

LOCK_KEY = 0x5349_4D41_5042_4C47  # "SIMAPBLG": the advisory lock of the process that measures
TRY_LOCK = "SELECT pg_try_advisory_lock($1)"
INTERVAL_SECONDS = 10.0
RETRY_SECONDS = 1.0
"""Pause after a round that failed."""
MAX_SHARE = 0.05
"""Share of the time that measuring one partner may take: large backlogs are measured less often."""


class BacklogWatch:
    """Measures each backlog every INTERVAL_SECONDS while it holds the lock; only one dispatcher does.

    `report` is called with the reason when this fails, and with None after a success: lanes use this pool as well.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        max_rows: int,
        max_bytes: int,
        report: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._pool = pool
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._report = report
        self._not_before: dict[int, float] = {}

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
        """Do one round, unless another process does."""
        async with self._pool.acquire() as db:
            try:
                if not await db.fetchval(TRY_LOCK, LOCK_KEY):
                    _set_metrics({})
                    return
                await self._measure_all(db)
                await db.execute("SELECT pg_advisory_unlock($1)", LOCK_KEY)
            except BaseException:  # the lock may be held: it must not stay with a connection of the pool
                db.terminate()
                raise

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
        _set_metrics(await backlogs.count_at_quota(db))

    async def _measure(self, db: asyncpg.Connection, partner_id: int) -> None:
        try:
            await backlogs.measure(db, partner_id, max_rows=self._max_rows, max_bytes=self._max_bytes)
        except TimeoutError:  # the others are measured all the same
            log.warning("a backlog takes too long to measure", extra={"partner_id": partner_id})


def _set_metrics(counts: dict[str, int]) -> None:
    for quota in Quota:
        if quota is not Quota.REQUESTS_PER_SECOND:
            metrics.PARTNERS_AT_QUOTA.labels(quota.value).set(counts.get(quota.value, 0))
