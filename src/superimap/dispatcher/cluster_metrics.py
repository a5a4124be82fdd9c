"""What do metrics tell of the whole cluster? One dispatcher looks, so that an alarm needs no idler to be alive."""

from __future__ import annotations

import time
from collections import Counter

import asyncpg

from superimap.core import metrics
from superimap.db.monitoring import cluster_status
from superimap.db.monitoring.cluster_status import IDLER_STATES, ClusterStatus


class ClusterMetrics:
    """Sets the metrics of the cluster every `every` seconds. Idlers are dead after `expiry` seconds of silence."""

    def __init__(self, *, expiry: float, every: float) -> None:
        self._expiry = expiry
        self._every = every
        self._due = 0.0

    async def look(self, db: asyncpg.Connection) -> None:
        """Tell how the cluster is, if it is time to."""
        if time.monotonic() < self._due:
            return
        set_cluster_metrics(await cluster_status.read(db, expiry=self._expiry))
        self._due = time.monotonic() + self._every

    def leave(self) -> None:
        """Say nothing more: another dispatcher looks from now on."""
        for metric in (metrics.CLUSTER_IDLERS, metrics.CLUSTER_SHARDS, metrics.CLUSTER_USERS):
            metric.clear()
        self._due = 0.0


def set_cluster_metrics(seen: ClusterStatus) -> None:
    """Set the metrics of the cluster."""
    idlers = Counter(idler.state for idler in seen.idlers)
    for state in IDLER_STATES:
        metrics.CLUSTER_IDLERS.labels(state).set(idlers[state])
    shards, users = seen.shards, seen.users
    metrics.CLUSTER_SHARDS.labels("owned").set(shards.owned)
    metrics.CLUSTER_SHARDS.labels("free").set(shards.free)
    metrics.CLUSTER_SHARDS.labels("expired").set(shards.expired)
    metrics.CLUSTER_USERS.labels("wanted").set(users.wanted)
    metrics.CLUSTER_USERS.labels("watched").set(users.watched)
    metrics.CLUSTER_USERS.labels("unserved").set(users.unserved)
