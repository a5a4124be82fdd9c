"""How do attempts get recorded? Those that end together in one statement, retried while it is worth it.

Endpoints that fail, or did, take two statements more in the same transaction: their health is read under a lock,
judged by the breaker, and written. Where all is well nothing of that happens. If somebody else has the lock, the
attempt is recorded all the same, the breaker hears of it later, and that endpoint's lane waits until then: who
keeps one endpoint must not keep all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import asyncpg

from superimap.core import metrics
from superimap.core.backoff import Backoff
from superimap.db.delivery import deliveries, endpoints
from superimap.db.delivery.deliveries import Settlement
from superimap.db.postgres import UNAVAILABLE
from superimap.dispatcher.delivery_sender import FinishedAttempt
from superimap.dispatcher.stats import Stats
from superimap.domain import breaker
from superimap.domain.breaker import Observation
from superimap.domain.deliveries import AttemptOutcome, EndpointHealth

log = logging.getLogger(__name__)

MOST = 200
TELL_AGAIN = 0.05
"""Seconds until a breaker is told again whose endpoint somebody else had locked."""


@dataclass(slots=True)
class _Owed:
    settlement: Settlement
    event: Observation | None
    since: float = field(default_factory=time.monotonic)
    recorded: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Settler:
    """Records settlements by groups: while one statement runs, the next group gathers."""

    def __init__(
        self, pool: asyncpg.Pool, stats: Stats, *, patience: float, cap: int, keep_failed: bool = True
    ) -> None:
        """`patience` is how long a settlement is worth recording: a lease, after which others send again.

        `cap` is how many POSTs at once an endpoint may have that is well; `keep_failed`, whether content of
        failures is kept for a while.
        """
        self._cap = cap
        self._keep_failed = keep_failed
        self._pool = pool
        self._stats = stats
        self._patience = patience
        self._waiting: list[_Owed] = []
        self._untold: dict[
            int, list[Observation]
        ] = {}  # by endpoint, oldest first: of attempts that are recorded
        self._held: list[_Owed] = []  # recorded too, of those endpoints: their lanes wait for the breaker
        self._bell = asyncio.Event()

    async def settle(self, sent: FinishedAttempt) -> None:
        """Return when this is recorded, or given up because the database stayed away too long."""
        owed = _Owed(sent.settlement, sent.event)
        self._waiting.append(owed)
        self._bell.set()
        await owed.recorded

    async def run(self) -> None:
        """Record what comes, until cancelled."""
        backoff = Backoff(first=0.2, longest=2.0)
        while True:
            is_rung = await self._rung()
            self._bell.clear()
            while self._waiting or not is_rung:
                is_rung = True
                group, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                try:
                    await self._record(group)
                    backoff.reset()
                except UNAVAILABLE as error:
                    log.warning("attempts could not be recorded yet: %s", error)
                    self._waiting = self._worthwhile(group) + self._waiting
                    await asyncio.sleep(backoff.next())

    async def _rung(self) -> bool:
        """Wait for something to record; False if it is time to tell a breaker again."""
        try:
            async with asyncio.timeout(TELL_AGAIN if self._untold else None):
                return await self._bell.wait()
        except TimeoutError:
            return False

    async def _record(self, group: list[_Owed]) -> None:
        now = time.monotonic()
        settlements = [_aged(owed, now) for owed in group]
        try:
            archived = await self._write(settlements, _events(self._untold, group))
        except UNAVAILABLE:
            raise
        except asyncpg.PostgresError as error:
            self._untold = {}  # it may be at fault as well, and is only news
            self._let_go([])
            if len(group) > 1:  # one of them is at fault: the others must not suffer
                for owed in group:
                    if not owed.recorded.done():
                        await self._record([owed])
                return
            ids = [str(owed.settlement.claim.id) for owed in group]
            log.error("an attempt cannot be recorded: %s", error, extra={"delivery_ids": ids})
            self._give_up(group)
            return
        self._stats.archived += archived
        metrics.USERS_ARCHIVED.inc(archived)
        self._count(settlements)
        self._let_go(group)

    def _let_go(self, group: list[_Owed]) -> None:
        """Those may go on whose breaker has heard of them: no lane claims more in the meantime."""
        both = [*self._held, *group]
        self._held = [owed for owed in both if owed.settlement.claim.endpoint_id in self._untold]
        _release(owed for owed in both if owed.settlement.claim.endpoint_id not in self._untold)

    async def _write(self, settlements: list[Settlement], events: dict[int, list[Observation]]) -> int:
        if not events:
            return await deliveries.settle(self._pool, settlements, keep_failed=self._keep_failed)
        async with self._pool.acquire() as db, db.transaction():
            archived = await deliveries.settle(db, settlements, keep_failed=self._keep_failed)
            now, healths = await endpoints.lock_healths(db, events)
            judged: dict[int, EndpointHealth] = {}
            for endpoint_id, before in healths.items():
                health = before
                for event in events[endpoint_id]:
                    health = breaker.next_health(health, event, now=now, cap=self._cap)
                if health != before:
                    judged[endpoint_id] = health
            if judged:
                await endpoints.set_healths(db, judged)
            locked = await endpoints.existing(db, events.keys() - healths.keys())
        self._untold = {endpoint_id: events[endpoint_id] for endpoint_id in locked}
        for endpoint_id, health in judged.items():
            _tell(endpoint_id, healths[endpoint_id], health)
        return archived

    def _worthwhile(self, group: list[_Owed]) -> list[_Owed]:
        """Those still within their lease; the others are sent again by whoever claims them."""
        oldest = time.monotonic() - self._patience
        self._give_up([owed for owed in group if owed.since < oldest])
        return [owed for owed in group if not owed.recorded.done()]

    def _give_up(self, group: list[_Owed]) -> None:
        self._stats.unrecorded += len(group)
        metrics.ATTEMPTS_UNRECORDED.inc(len(group))
        _release(group)

    def _count(self, settlements: Iterable[Settlement]) -> None:
        for settlement in settlements:
            metrics.ATTEMPTS.labels(settlement.outcome).inc()
            match settlement.outcome:
                case AttemptOutcome.DELIVERED:
                    self._stats.delivered += 1
                case AttemptOutcome.RETRY:
                    self._stats.retried += 1
                case AttemptOutcome.FAILED | AttemptOutcome.ARCHIVE:
                    self._stats.failed += 1


def _events(untold: Mapping[int, list[Observation]], group: list[_Owed]) -> dict[int, list[Observation]]:
    """By endpoint, in the order in which they came."""
    events = {endpoint_id: [*earlier] for endpoint_id, earlier in untold.items()}
    for owed in group:
        if owed.event is not None:
            events.setdefault(owed.settlement.claim.endpoint_id, []).append(owed.event)
    return events


def _tell(endpoint_id: int, before: EndpointHealth, health: EndpointHealth) -> None:
    ids = {"endpoint_id": endpoint_id}
    if health.disabled_at is not None:
        metrics.ENDPOINTS_DISABLED.inc()
        log.error("an endpoint is disabled", extra=ids | {"reason": health.disabled_reason})
    elif health.breaker != before.breaker:
        if health.breaker == "open":
            metrics.BREAKERS_OPENED.inc()
        log.warning("a breaker changed", extra=ids | {"breaker": health.breaker})


def _aged(owed: _Owed, now: float) -> Settlement:
    return replace(owed.settlement, age=owed.settlement.age + now - owed.since)


def _release(group: Iterable[_Owed]) -> None:
    for owed in group:
        if not owed.recorded.done():
            owed.recorded.set_result(None)
