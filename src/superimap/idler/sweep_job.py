"""The job of an idler that runs the sweeps of its shards, a few at a time."""

import asyncio
import logging
import weakref
from collections import Counter, OrderedDict
from functools import partial

from superimap.core import metrics
from superimap.db.postgres import UNAVAILABLE
from superimap.db.watching import sweeps as queries
from superimap.db.watching.sweep_records import DueSweep
from superimap.domain.sweeps import MAX_IDLER_SWEEPS, MAX_PARTNER_SWEEPS
from superimap.idler.context import IdlerContext
from superimap.idler.mailbox_memory import MailboxMemory
from superimap.idler.sweep_run import SweepRun

log = logging.getLogger(__name__)

ROUND_SECONDS = 5.0
"""Longest time between two looks for sweeps that are due."""
LEAST_ROUND_SECONDS = 0.2
"""Shortest time between two looks: of thousands of sweeps that wait, an idler looks at 40 a second."""
MAX_REMEMBERED_SWEEPS = 1_000
"""Sweeps of which the mails that ended a connection are remembered."""


class SweepJob:
    """Runs sweeps that are due; `rung` is set when one may be new."""

    def __init__(self, context: IdlerContext, rung: asyncio.Event) -> None:
        self._context = context
        self._rung = rung
        self._running: dict[int, asyncio.Task[None]] = {}
        self._servers: Counter[str] = Counter()
        self._partners: Counter[int] = Counter()  # sweeps that run
        self._memories: OrderedDict[int, MailboxMemory] = OrderedDict()
        self._gates: weakref.WeakValueDictionary[int, asyncio.Lock] = weakref.WeakValueDictionary()

    async def run(self) -> None:
        """Do rounds until cancelled. A sweep that is interrupted goes on where its last batch was recorded."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._rung.clear()
                try:
                    await self._begin_due(group)
                except UNAVAILABLE as error:
                    log.debug("sweeps wait for PostgreSQL: %s", type(error).__name__)
                await asyncio.sleep(LEAST_ROUND_SECONDS)
                try:
                    async with asyncio.timeout(ROUND_SECONDS):
                        await self._rung.wait()
                except TimeoutError:
                    pass

    async def _begin_due(self, group: asyncio.TaskGroup) -> None:
        """Begin the sweeps that are due, as far as there is room, for all and for each partner."""
        while (room := MAX_IDLER_SWEEPS - len(self._running)) > 0:
            due = await queries.find_due(
                self._context.pool,
                self._context.ownership.idler,
                running=self._running,
                full=[partner for partner, count in self._partners.items() if count >= MAX_PARTNER_SWEEPS],
                limit=room,
            )
            for sweep in due:
                if self._partners[sweep.partner_id] < MAX_PARTNER_SWEEPS:
                    self._begin(group, sweep)
            if all(sweep.id in self._running for sweep in due):
                return

    def _begin(self, group: asyncio.TaskGroup, sweep: DueSweep) -> None:
        task = group.create_task(self._run_for(sweep).run(), name=f"sweep {sweep.id}")
        self._running[sweep.id] = task
        self._partners[sweep.partner_id] += 1
        metrics.MAILBOX_SWEEPS_RUNNING.set(len(self._running))
        task.add_done_callback(partial(self._ended, sweep))

    def _run_for(self, sweep: DueSweep) -> SweepRun:
        memory = self._memories.setdefault(sweep.id, MailboxMemory())
        self._memories.move_to_end(sweep.id)
        if len(self._memories) > MAX_REMEMBERED_SWEEPS:
            self._memories.popitem(last=False)
        gate = self._gates.setdefault(sweep.partner_id, asyncio.Lock())
        return SweepRun(self._context, sweep, memory, gate, self._servers)

    def _ended(self, sweep: DueSweep, _task: asyncio.Task[None]) -> None:
        del self._running[sweep.id]
        self._partners -= Counter([sweep.partner_id])  # without those that have none
        metrics.MAILBOX_SWEEPS_RUNNING.set(len(self._running))
        self._rung.set()
