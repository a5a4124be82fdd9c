"""How do attempts get recorded? Those that end together in one statement, retried while it is worth it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import asyncpg

from superimap import metrics
from superimap.backoff import Backoff
from superimap.db.engine import UNAVAILABLE
from superimap.db.queries import deliveries
from superimap.db.queries.deliveries import Outcome, Settlement
from superimap.dispatcher.stats import Stats

log = logging.getLogger(__name__)

MOST = 200
TRANSIENT = (*UNAVAILABLE, asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError)


@dataclass(slots=True)
class _Owed:
    settlement: Settlement
    since: float = field(default_factory=time.monotonic)
    recorded: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Settler:
    """Records settlements by groups: while one statement runs, the next group gathers."""

    def __init__(self, pool: asyncpg.Pool, stats: Stats, *, patience: float) -> None:
        """`patience` is how long a settlement is worth recording: a lease, after which others send again."""
        self._pool = pool
        self._stats = stats
        self._patience = patience
        self._waiting: list[_Owed] = []
        self._bell = asyncio.Event()

    async def settle(self, settlement: Settlement) -> None:
        """Return when this is recorded, or given up because the database stayed away too long."""
        owed = _Owed(settlement)
        self._waiting.append(owed)
        self._bell.set()
        await owed.recorded

    async def run(self) -> None:
        """Record what comes, until cancelled."""
        backoff = Backoff(first=0.2, longest=2.0)
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self._waiting:
                group, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                try:
                    await self._record(group)
                    backoff.reset()
                except TRANSIENT as error:
                    log.warning("attempts could not be recorded yet: %s", error)
                    self._waiting = self._worthwhile(group) + self._waiting
                    await asyncio.sleep(backoff.next())

    async def _record(self, group: list[_Owed]) -> None:
        now = time.monotonic()
        settlements = [_aged(owed, now) for owed in group]
        try:
            archived = await deliveries.settle(self._pool, settlements)
        except TRANSIENT:
            raise
        except asyncpg.PostgresError as error:
            if len(group) > 1:  # one of them is at fault: the others must not suffer
                for owed in group:
                    if not owed.recorded.done():
                        await self._record([owed])
                return
            log.error("an attempt cannot be recorded: %s", error, extra={"delivery_id": _id(group[0])})
            self._give_up(group)
            return
        self._stats.archived += archived
        metrics.ARCHIVED.inc(archived)
        self._count(settlements)
        _release(group)

    def _worthwhile(self, group: list[_Owed]) -> list[_Owed]:
        """Those still within their lease; the others are sent again by whoever claims them."""
        oldest = time.monotonic() - self._patience
        self._give_up([owed for owed in group if owed.since < oldest])
        return [owed for owed in group if not owed.recorded.done()]

    def _give_up(self, group: list[_Owed]) -> None:
        self._stats.unrecorded += len(group)
        metrics.UNRECORDED.inc(len(group))
        _release(group)

    def _count(self, settlements: Iterable[Settlement]) -> None:
        for settlement in settlements:
            metrics.ATTEMPTS.labels(settlement.outcome).inc()
            match settlement.outcome:
                case Outcome.DELIVERED:
                    self._stats.delivered += 1
                case Outcome.RETRY:
                    self._stats.retried += 1
                case Outcome.FAILED | Outcome.ARCHIVE:
                    self._stats.failed += 1


def _aged(owed: _Owed, now: float) -> Settlement:
    return replace(owed.settlement, age=owed.settlement.age + now - owed.since)


def _id(owed: _Owed) -> str:
    return str(owed.settlement.claim.id)


def _release(group: list[_Owed]) -> None:
    for owed in group:
        if not owed.recorded.done():
            owed.recorded.set_result(None)
