"""The job that sends tracers, judges them and deletes them: in the idler that owns the shard of tracers.

The shard's lease makes it one job in the cluster: it moves like any other, and every new tracer asserts it. When
the next tracer is due follows from the row of the last one, so that another idler goes on in the same pace.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from superimap.core import metrics
from superimap.core.metric_labels import ProviderLabels
from superimap.db.failures import UNAVAILABLE
from superimap.db.watching import tracers as queries
from superimap.db.watching.intake import Fence
from superimap.db.watching.tracers import JudgedTracer, TracerTarget
from superimap.domain.tracers import TracerVerdict
from superimap.idler.context import IdlerContext
from superimap.idler.outages import until_answered
from superimap.idler.tracer_clean_up import TracerCleanUp
from superimap.idler.tracer_sender import TracerSender
from superimap.idler.tracer_smtp import NotSent
from superimap.mail import tracer

log = logging.getLogger(__name__)

TRACER_SHARD = 0
"""The shard whose owner has the job."""
ROUND_SECONDS = 2.0
"""Longest time between two looks; a tracer that becomes due in between is sent in time."""
UNUSED_SECONDS = 10.0
"""Time between two looks while no mailbox may have a tracer."""
MAX_SENDING = 4
"""Tracers that are sent at once. While so many hang, none is sent."""

LABELS = ProviderLabels()


class TracerJob:
    """Sends a tracer every `interval / count` seconds to the mailbox whose turn it is."""

    def __init__(self, context: IdlerContext) -> None:
        self._context = context
        settings = context.settings
        is_on = settings.tracer_interval > 0 and settings.num_tracers > 0
        self._interval = settings.tracer_interval
        self._spacing = settings.tracer_interval / settings.num_tracers if is_on else None
        self._limits = queries.verdict_limits()
        self._sender = TracerSender(context)
        self._clean_up = TracerCleanUp(context)
        self._sending: set[asyncio.Task[None]] = set()
        self._cleaning: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Do rounds until cancelled. What is being sent then is waited for by nobody: its row stays."""
        async with asyncio.TaskGroup() as group:
            while True:
                pause = ROUND_SECONDS
                try:
                    fence = self._context.fence(TRACER_SHARD)
                    if fence is not None:
                        pause = await self._round(group, fence)
                except UNAVAILABLE as error:
                    log.debug("tracers wait for PostgreSQL: %s", type(error).__name__)
                except Exception:  # such as a user who is deleted meanwhile; the sessions of this idler go on
                    log.exception("round of tracers failed")
                await asyncio.sleep(pause)

    async def _round(self, group: asyncio.TaskGroup, fence: Fence) -> float:
        """Judge what can be judged, and begin what is due; return the seconds until the next round."""
        count_verdicts(await queries.judge(self._context.pool, self._limits))
        if self._cleaning is None or self._cleaning.done():
            self._cleaning = group.create_task(self._clean_up.run_due())
        if self._spacing is None:
            return ROUND_SECONDS
        due_in = await queries.seconds_until_next(self._context.pool, spacing=self._spacing)
        if due_in <= 0 and len(self._sending) < MAX_SENDING:
            if not await self._begin(group, fence, self._spacing):
                return UNUSED_SECONDS
            due_in = self._spacing
        return min(ROUND_SECONDS, due_in) if due_in > 0 else ROUND_SECONDS

    async def _begin(self, group: asyncio.TaskGroup, fence: Fence, spacing: float) -> bool:
        """Make the row of the next tracer, and send it. Returns whether a mailbox may have one."""
        target = await queries.choose_target(self._context.pool, first_pause=self._interval)
        if target is None:
            return False
        begin_series(target.provider_code)
        key, now = self._context.tracer_keys[0], time.time()
        token = tracer.make_token(target.user_id, key, now=now, nonce=os.urandom(tracer.NONCE_BYTES))
        tracer_id = await queries.make(
            self._context.pool, fence, target, token_digest=tracer.digest(token), spacing=spacing
        )
        if tracer_id is not None:
            task = group.create_task(self._send(target, tracer_id, token))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return True

    async def _send(self, target: TracerTarget, tracer_id: int, token: str) -> None:
        """Send a tracer whose row is made, and record what became of it. Raises nothing: the job goes on."""
        try:
            store = await self._try_to_send(target, tracer_id, token)
            await until_answered(store, user_id=target.user_id)
        except UNAVAILABLE:
            return  # judged by its row, which says nothing
        except Exception:  # of one mailbox
            log.exception("tracer failed", extra={"user_id": target.user_id})

    async def _try_to_send(
        self, target: TracerTarget, tracer_id: int, token: str
    ) -> Callable[[], Awaitable[None]]:
        """Send a tracer; return the statement that records what became of it."""
        pool = self._context.pool
        try:
            await self._sender.send(target, token)
        except NotSent as error:
            return partial(queries.record_failure, pool, tracer_id, str(error), is_certain=error.is_certain)
        metrics.TRACERS.labels("sent", LABELS.of(target.provider_code)).inc()
        return partial(queries.record_accepted, pool, tracer_id, at=time.monotonic())


def begin_series(provider_code: str) -> None:
    """Begin the series of a provider at 0: Prometheus sees no increase in the first value of a series."""
    for result in ("sent", *TracerVerdict):
        metrics.TRACERS.labels(result, LABELS.of(provider_code))


def count_verdicts(judged: Iterable[JudgedTracer]) -> None:
    """Count tracers that got their verdict, and their stages."""
    for each in judged:
        label = LABELS.of(each.provider_code)
        metrics.TRACERS.labels(each.verdict.value, label).inc()
        for stage, seconds in each.times.durations():
            metrics.TRACER_SECONDS.labels(stage.value, label).observe(seconds)
