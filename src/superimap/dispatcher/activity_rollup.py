"""Rollup of activity by the dispatcher that sweeps: one bounded step per round, until it is up to date."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID

from asyncpg import Pool

from superimap.db.delivery import activity
from superimap.domain.activity import SETTLE_LAG_SECONDS, SLICE_SECONDS, ActivitySource

MIN_SLICE_SECONDS = 1.0

WhenCancelled = Callable[[list[tuple[int, UUID]]], None]
"""Takes deliveries that were cancelled, each by partner and id."""


class ActivityRollup:
    """Counts what is new every `interval` seconds, and shrinks what is old every `retention_interval` seconds."""

    def __init__(
        self,
        *,
        expiry: float,
        interval: float,
        retention_interval: float,
        lag: float = SETTLE_LAG_SECONDS,
        when_cancelled: WhenCancelled | None = None,
    ) -> None:
        """`expiry` is the age in seconds from which an idler's heartbeat counts as lost.

        `when_cancelled` gets the cancelled deliveries among those that were counted, each once.
        """
        self._expiry = expiry
        self._interval = interval
        self._retention_interval = retention_interval
        self._lag = lag
        self._when_cancelled = when_cancelled
        self._next_count = 0.0
        self._next_shrink = 0.0
        self._slices = dict.fromkeys(ActivitySource, SLICE_SECONDS)

    async def run_due(self, pool: Pool) -> None:
        """Do the steps that are due. If one is behind, the next round continues; after an error, a later one."""
        now = time.monotonic()
        if now >= self._next_count:
            self._next_count = now + self._interval
            behind = [await self._count(pool, source) for source in ActivitySource]
            await activity.sample_idlers(pool, expiry=self._expiry)
            if any(behind):
                self._next_count = 0.0
        if now >= self._next_shrink:
            self._next_shrink = now + self._retention_interval
            if await activity.shrink(pool):
                self._next_shrink = 0.0

    async def _count(self, pool: Pool, source: ActivitySource) -> bool:
        """Count a slice. One that failed, as by a time-out, is halved until it succeeds, then doubled again."""
        seconds = self._slices[source]
        self._slices[source] = max(MIN_SLICE_SECONDS, seconds / 2)
        is_wanted = self._when_cancelled is not None and source is ActivitySource.DELIVERIES
        cancelled: list[tuple[int, UUID]] | None = [] if is_wanted else None
        is_behind = await activity.count_slice(
            pool, source, lag=self._lag, seconds=seconds, cancelled=cancelled
        )
        if self._when_cancelled is not None and cancelled:
            self._when_cancelled(cancelled)
        self._slices[source] = min(SLICE_SECONDS, seconds * 2)
        return is_behind
