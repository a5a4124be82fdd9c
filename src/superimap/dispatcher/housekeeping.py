"""Housekeeping beside the sweeper: survey of users, stalls, metrics of the cluster, activity, and purges.

It uses connections of the pool, never the one that rings endpoints, and only while this dispatcher sweeps.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable

from asyncpg import Pool

from superimap.core.runtime import wait_for_stop
from superimap.db.delivery import liveness, shard_survey
from superimap.dispatcher.activity_rollup import ActivityRollup
from superimap.dispatcher.cluster_metrics import ClusterMetrics
from superimap.dispatcher.lanes.runner import DATABASE_ERRORS
from superimap.dispatcher.purges import Purges
from superimap.dispatcher.shard_walk import ShardWalk
from superimap.dispatcher.timings import DispatcherTimings

log = logging.getLogger(__name__)


class Housekeeping:
    """Does a bounded amount of each task per round. A task that fails is tried an interval later."""

    def __init__(
        self,
        pool: Pool,
        cluster_metrics: ClusterMetrics,
        purges: Purges,
        activity: ActivityRollup,
        *,
        timings: DispatcherTimings,
        stalled_after: float,
    ) -> None:
        self._pool = pool
        self._cluster_metrics = cluster_metrics
        self._purges = purges
        self._activity = activity
        self._timings = timings
        self._stalled_after = stalled_after
        self._walk = ShardWalk(interval=timings.stall_check_interval)
        self._ended_vouchers: list[int] = []
        self._is_active = False
        self._stalls_from = math.inf
        self._next_merge = 0.0

    @property
    def is_active(self) -> bool:
        """Whether this dispatcher sweeps."""
        return self._is_active

    def begin(self, *, connected_at: float) -> None:
        """Start: this dispatcher sweeps. `connected_at` is since when its connection has been open.

        If the database was unreachable before, idlers could not write their proofs of life.
        """
        self._stalls_from = connected_at + self._timings.stall_check_delay
        self._walk.restart()
        self._is_active = True

    def end(self) -> None:
        """Stop: another dispatcher may sweep."""
        self._is_active = False
        self._cluster_metrics.clear()

    async def run(self, stop: asyncio.Event) -> None:
        """Do a round per sweep until `stop`. Errors of the database end a task, not the round."""
        tasks: dict[str, Callable[[], Awaitable[None]]] = {
            "survey": self._survey,
            "metrics": self._update_metrics,
            "sums": self._merge_sums,
            "activity": self._count_activity,
            "purges": self._purge,
        }
        while not stop.is_set():
            for name, task in tasks.items():
                if not self._is_active:
                    break
                try:
                    await task()
                except DATABASE_ERRORS as error:
                    log.warning("housekeeping failed: %s", error, extra={"task": name})
            await wait_for_stop(stop, self._timings.sweep_interval)

    async def _survey(self) -> None:
        """Look at one slice of the shards: count their watched users, and mark the stalled ones.

        What ended idlers have vouched for is written to the users first. After a walk, nobody needs their vouches.
        """
        now = time.monotonic()
        shards = self._walk.next_slice(now)
        if shards is None:
            return
        try:
            survey = await shard_survey.survey_shards(self._pool, shards)
            kept = await self._keep_vouched(shards)
            stalled = await self._mark_stalled(shards)
        except BaseException:
            self._walk.restart(not_before=now + self._timings.stall_check_interval)
            raise
        if survey.corrected:
            log.warning("sums of users were wrong and are corrected", extra={"shards": len(survey.corrected)})
        if (
            max(kept, stalled) < liveness.BATCH_USERS
        ):  # otherwise there are more, and the next round looks again
            is_complete = self._walk.advance(shards, users=survey.users)
            self._cluster_metrics.set_watched(survey.watched, is_complete=is_complete)
            if is_complete and self._ended_vouchers:
                await liveness.delete_vouches(self._pool, self._ended_vouchers)
                log.info("deleted vouches of ended idlers", extra={"vouchers": len(self._ended_vouchers)})

    async def _keep_vouched(self, shards: range) -> int:
        """Write what ended idlers have vouched for to the users of these shards; return to how many."""
        if shards.start == 0:
            is_early = time.monotonic() < self._stalls_from  # idlers may not have reported yet
            self._ended_vouchers = [] if is_early else await liveness.find_ended_vouchers(self._pool)
        if not self._ended_vouchers:
            return 0
        return await liveness.keep_vouched(self._pool, self._ended_vouchers, shards=shards)

    async def _mark_stalled(self, shards: range) -> int:
        if time.monotonic() < self._stalls_from:
            return 0
        stalled = await liveness.mark_stalled(self._pool, after=self._stalled_after, shards=shards)
        if stalled:
            log.warning("users are stalled", extra={"users": stalled})
        return stalled

    async def _update_metrics(self) -> None:
        await self._cluster_metrics.update(self._pool)
        if not self._is_active:  # it ended meanwhile
            self._cluster_metrics.clear()

    async def _merge_sums(self) -> None:
        if (now := time.monotonic()) < self._next_merge:
            return
        self._next_merge = now + self._timings.merge_interval  # also after an error
        if await shard_survey.merge_sums(self._pool) == shard_survey.MERGED_ROWS:
            self._next_merge = 0.0

    async def _count_activity(self) -> None:
        await self._activity.run_due(self._pool)

    async def _purge(self) -> None:
        await self._purges.run_due(self._pool)
