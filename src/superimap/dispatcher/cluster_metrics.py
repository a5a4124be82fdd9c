"""Metrics of the whole cluster, set by one dispatcher, so that alerts work even if no idler is alive."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

from asyncpg import Pool

from superimap.core import metrics
from superimap.db.delivery import backlogs
from superimap.db.key_usage import read_key_usage
from superimap.db.monitoring import cluster_status
from superimap.db.monitoring.cluster_status import IDLER_STATES, ClusterStatus
from superimap.domain.deliveries import Breaker
from superimap.domain.shards import SHARD_COUNT

DEAD_LETTERS_INTERVAL_SECONDS = 60.0
MAX_SHARE = 0.01
"""Share of the time that counting dead letters may take."""
TROUBLED_STATES = (*(each.value for each in Breaker if each is not Breaker.CLOSED), "disabled")


class ClusterMetrics:
    """Sets the metrics of the cluster every `interval` seconds.

    An idler whose heartbeat is older than `expiry` seconds counts as dead. `sends_tracers`: whether the settings
    say that tracers are sent at all.
    """

    def __init__(self, *, expiry: float, interval: float, sends_tracers: bool = True) -> None:
        self._expiry = expiry
        self._interval = interval
        self._sends_tracers = sends_tracers
        self._next_update = 0.0
        self._next_dead_letters = 0.0
        self._watched = [0] * SHARD_COUNT
        self._is_surveyed = False

    def set_watched(self, watched: Mapping[int, int], *, is_complete: bool) -> None:
        """Set the number of watched users of these shards; `is_complete` if all shards were counted now."""
        for shard, users in watched.items():
            self._watched[shard] = users
        self._is_surveyed = self._is_surveyed or is_complete

    async def update(self, db: Pool) -> None:
        """Read the state of the cluster and set the metrics, if they are due and all users were counted."""
        if not self._is_surveyed or time.monotonic() < self._next_update:
            return
        self._next_update = time.monotonic() + self._interval  # also after an error
        seen = await cluster_status.read_cluster_status(db, expiry=self._expiry, watched=self._watched)
        set_cluster_metrics(seen)
        for key in await read_key_usage(db):
            metrics.KEY_SEALS.labels(key.key_id).set(key.seals)
        troubled = await backlogs.count_troubled_endpoints(db)
        for state in TROUBLED_STATES:
            metrics.ENDPOINTS_TROUBLED.labels(state).set(troubled.get(state, 0))
        if self._sends_tracers:
            metrics.TRACER_MAILBOXES.set(await backlogs.count_tracer_mailboxes(db))
        await self._count_dead_letters(db)

    async def _count_dead_letters(self, db: Pool) -> None:
        if (began := time.monotonic()) < self._next_dead_letters:
            return
        self._next_dead_letters = began + DEAD_LETTERS_INTERVAL_SECONDS  # also after an error
        metrics.DEAD_LETTERS.set(await backlogs.count_dead_letters(db))
        took = time.monotonic() - began
        self._next_dead_letters = max(self._next_dead_letters, began + took / MAX_SHARE)

    def clear(self) -> None:
        """Remove the metrics: another dispatcher sets them from now on."""
        self._is_surveyed, self._next_update, self._next_dead_letters = False, 0.0, 0.0
        for metric in (metrics.CLUSTER_IDLERS, metrics.CLUSTER_SHARDS, metrics.CLUSTER_USERS):
            metric.clear()
        for metric in (metrics.KEY_SEALS, metrics.ENDPOINTS_TROUBLED):
            metric.clear()
        metrics.DEAD_LETTERS.set(0)
        metrics.TRACER_MAILBOXES.set(0)
        metrics.DEFERRED_MAILS.set(0)


def set_cluster_metrics(seen: ClusterStatus) -> None:
    """Set the metrics of the cluster to what was read."""
    idlers = Counter(idler.state for idler in seen.idlers)
    for state in IDLER_STATES:
        metrics.CLUSTER_IDLERS.labels(state).set(idlers[state])
    metrics.DEFERRED_MAILS.set(seen.deferred_mails)
    shards, users = seen.shards, seen.users
    metrics.CLUSTER_SHARDS.labels("owned").set(shards.owned)
    metrics.CLUSTER_SHARDS.labels("free").set(shards.free)
    metrics.CLUSTER_SHARDS.labels("expired").set(shards.expired)
    metrics.CLUSTER_USERS.labels("wanted").set(users.wanted)
    metrics.CLUSTER_USERS.labels("watched").set(users.watched)
    metrics.CLUSTER_USERS.labels("unserved").set(users.unserved)
