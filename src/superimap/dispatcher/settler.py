"""Recording of attempts: those that end together go into one statement, which is retried while that is worthwhile.

For endpoints that fail, or that failed before, two statements more run in the same transaction: their health is
read under a lock, judged by the breaker, and written. Healthy endpoints cost nothing extra. If another transaction
holds the lock, the attempt is recorded all the same, the breaker gets the observation later, and the endpoint's
lane waits until then. One locked endpoint must not hold up the others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import asyncpg

from superimap.core import metrics
from superimap.core.backoff import Backoff
from superimap.db.delivery import deliveries, endpoints
from superimap.db.delivery.deliveries import Settlement
from superimap.db.postgres import UNAVAILABLE
from superimap.dispatcher.delivery_sender import FinishedAttempt
from superimap.domain import breaker
from superimap.domain.breaker import Observation
from superimap.domain.deliveries import AttemptOutcome, EndpointHealth

log = logging.getLogger(__name__)

MAX_BATCH_ATTEMPTS = 200
LOCKED_HEALTH_RETRY_SECONDS = 0.05
"""Pause before the observations of an endpoint whose row was locked are written again."""


@dataclass(slots=True)
class AttemptCounts:
    """Attempts by outcome since the start; written by Settler."""

    delivered: int = 0
    retried: int = 0
    failed: int = 0
    archived: int = 0
    unrecorded: int = 0  # attempts whose outcome was lost with the database


@dataclass(slots=True)
class _Pending:
    """An attempt that is not recorded yet, or whose lane still waits for the breaker."""

    settlement: Settlement
    observation: Observation | None
    since: float = field(default_factory=time.monotonic)
    recorded: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Settler:
    """Records attempts in batches: while one statement runs, the next batch gathers."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        counts: AttemptCounts,
        *,
        lease: float,
        max_posts: int,
        keep_failed: bool = True,
        when_recorded: Callable[[Sequence[Settlement]], None] | None = None,
    ) -> None:
        """`lease` is the seconds for which an attempt is worth recording; after it the delivery is sent again.

        `max_posts` is the concurrency limit of a healthy endpoint. `keep_failed`: whether the content of failed
        deliveries is kept for a while. `when_recorded` gets the attempts of each batch that was recorded.
        """
        self._pool = pool
        self._counts = counts
        self._lease = lease
        self._max_posts = max_posts
        self._keep_failed = keep_failed
        self._when_recorded = when_recorded
        self._waiting: list[_Pending] = []
        # Observations of recorded attempts that the breaker does not have yet, by endpoint, oldest first.
        self._unjudged: dict[int, list[Observation]] = {}
        self._held: list[
            _Pending
        ] = []  # recorded attempts of those endpoints: their lanes wait for the breaker
        self._wake = asyncio.Event()

    async def settle(self, attempt: FinishedAttempt) -> bool:
        """Return True when the attempt is recorded, False if the database was unreachable for too long."""
        pending = _Pending(attempt.settlement, attempt.observation)
        self._waiting.append(pending)
        self._wake.set()
        return await pending.recorded

    async def run(self) -> None:
        """Record attempts until cancelled."""
        backoff = Backoff(first=0.2, longest=2.0)
        while True:
            is_woken = await self._wait()
            self._wake.clear()
            while self._waiting or not is_woken:
                is_woken = True
                batch = self._waiting[:MAX_BATCH_ATTEMPTS]
                self._waiting = self._waiting[MAX_BATCH_ATTEMPTS:]
                try:
                    await self._record(batch)
                    backoff.reset()
                except UNAVAILABLE as error:
                    log.warning("attempts could not be recorded yet: %s", error)
                    self._waiting = self._within_lease(batch) + self._waiting
                    await asyncio.sleep(backoff.next())

    async def _wait(self) -> bool:
        """Wait for an attempt to record; False if it is time to write delayed observations."""
        try:
            async with asyncio.timeout(LOCKED_HEALTH_RETRY_SECONDS if self._unjudged else None):
                return await self._wake.wait()
        except TimeoutError:
            return False

    async def _record(self, batch: list[_Pending]) -> None:
        now = time.monotonic()
        settlements = [_aged(pending, now) for pending in batch]
        try:
            archived = await self._write(settlements, _observations(self._unjudged, batch))
        except UNAVAILABLE:
            raise
        except asyncpg.PostgresError as error:
            self._unjudged = {}  # one of them may cause the error, and the next failures say the same
            self._release_judged([])
            if len(batch) > 1:  # one attempt causes the error: record the others one by one
                for pending in batch:
                    if not pending.recorded.done():
                        await self._record([pending])
                return
            for pending in batch:
                ids = {"delivery_id": str(pending.settlement.claim.id)}
                log.error("attempt cannot be recorded: %s", error, extra=ids)
            self._give_up(batch)
            return
        self._counts.archived += archived
        metrics.USERS_ARCHIVED.inc(archived)
        self._count(settlements)
        if self._when_recorded is not None:
            self._when_recorded(settlements)
        self._release_judged(batch)

    def _release_judged(self, batch: list[_Pending]) -> None:
        """End the wait of attempts whose breaker has judged them; no lane claims more before that."""
        recorded = [*self._held, *batch]
        self._held = [each for each in recorded if each.settlement.claim.endpoint_id in self._unjudged]
        _release(each for each in recorded if each.settlement.claim.endpoint_id not in self._unjudged)

    async def _write(self, settlements: list[Settlement], observations: dict[int, list[Observation]]) -> int:
        """Record the attempts, and judge the endpoints; returns how many users were archived."""
        if not observations:
            return await deliveries.settle(self._pool, settlements, keep_failed=self._keep_failed)
        async with self._pool.acquire() as db, db.transaction():
            archived = await deliveries.settle(db, settlements, keep_failed=self._keep_failed)
            now, healths = await endpoints.lock_healths(db, observations)
            judged: dict[int, EndpointHealth] = {}
            for endpoint_id, before in healths.items():
                health = before
                for observation in observations[endpoint_id]:
                    health = breaker.next_health(health, observation, now=now, max_posts=self._max_posts)
                if health != before:
                    judged[endpoint_id] = health
            if judged:
                await endpoints.set_healths(db, judged)
            locked = await endpoints.list_existing(db, observations.keys() - healths.keys())
        self._unjudged = {endpoint_id: observations[endpoint_id] for endpoint_id in locked}
        for endpoint_id, health in judged.items():
            _report(endpoint_id, healths[endpoint_id], health)
        return archived

    def _within_lease(self, batch: list[_Pending]) -> list[_Pending]:
        """The attempts still within their lease. The other deliveries are sent again by the next to claim them."""
        oldest = time.monotonic() - self._lease
        self._give_up([pending for pending in batch if pending.since < oldest])
        return [pending for pending in batch if not pending.recorded.done()]

    def _give_up(self, batch: list[_Pending]) -> None:
        self._counts.unrecorded += len(batch)
        metrics.ATTEMPTS_UNRECORDED.inc(len(batch))
        _release(batch, is_recorded=False)

    def _count(self, settlements: Iterable[Settlement]) -> None:
        for settlement in settlements:
            metrics.ATTEMPTS.labels(settlement.outcome, settlement.claim.kind).inc()
            match settlement.outcome:
                case AttemptOutcome.DELIVERED:
                    self._counts.delivered += 1
                case AttemptOutcome.RETRY:
                    self._counts.retried += 1
                case AttemptOutcome.FAILED | AttemptOutcome.ARCHIVE:
                    self._counts.failed += 1


def _observations(
    unjudged: Mapping[int, list[Observation]], batch: list[_Pending]
) -> dict[int, list[Observation]]:
    """Observations by endpoint, oldest first."""
    observations = {endpoint_id: [*earlier] for endpoint_id, earlier in unjudged.items()}
    for pending in batch:
        if pending.observation is not None:
            observations.setdefault(pending.settlement.claim.endpoint_id, []).append(pending.observation)
    return observations


def _report(endpoint_id: int, before: EndpointHealth, health: EndpointHealth) -> None:
    """Count and log that an endpoint was disabled, or that its breaker changed."""
    ids = {"endpoint_id": endpoint_id}
    if health.disabled_at is not None:
        metrics.ENDPOINTS_DISABLED.inc()
        log.error("endpoint disabled", extra=ids | {"reason": health.disabled_reason})
    elif health.breaker != before.breaker:
        if health.breaker == "open":
            metrics.BREAKERS_OPENED.inc()
        log.warning("circuit breaker of an endpoint changed", extra=ids | {"breaker": health.breaker})


def _aged(pending: _Pending, now: float) -> Settlement:
    return replace(pending.settlement, age=pending.settlement.age + now - pending.since)


def _release(batch: Iterable[_Pending], *, is_recorded: bool = True) -> None:
    for pending in batch:
        if not pending.recorded.done():
            pending.recorded.set_result(is_recorded)
