"""Doorbells of endpoints: wake-ups for dispatchers, sent through Redis as jobs of arq.

The queue carries doorbells, never payloads. A lost doorbell costs a second, until the sweeper rings again; a
duplicate costs one look at the table. `ring` enqueues the job `lane:{endpoint}:{generation}`, and the process
that takes the job raises the generation before it looks at the table. So a row that was committed before the ring
is always seen: either the job of this generation has not looked yet, or the generation is a new one and so is the
job. At most one job per endpoint waits. arq compares the score of a job with its own clock; ours are numbers of a
counter in Redis, far below any clock, so that jobs are due at once on every machine, oldest first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from arq.constants import in_progress_key_prefix, job_key_prefix
from arq.jobs import serialize_job

from superimap.core.backoff import Backoff
from superimap.core.runtime import wait_for_stop
from superimap.doorbells.arq_worker import (
    COMMAND_TIMEOUT_SECONDS,
    JOB_NAME,
    QUEUE_NAME,
    UNREACHABLE,
    JobFunction,
    cancel_all,
    connect,
    disconnect,
    encode_json,
    run_worker,
)
from superimap.doorbells.pace import RingPace
from superimap.doorbells.waking_worker import push_wakes

log = logging.getLogger(__name__)

Handler = Callable[[int], Awaitable[None]]

GENERATION_KEY_PREFIX = "superimap:gen:"
SEQUENCE_KEY = "superimap:rings"
"""Number of batches of rings, which is the score of their jobs: no clock decides when they are due."""
PROBE_ID = -1
"""Endpoint of a probe; no endpoint has this id."""
RING_TIMEOUT_SECONDS = 0.2
"""Longest time for which a ring delays its caller."""

JOB_EXPIRY_MILLISECONDS = 86_400_000


class EndpointDoorbell:
    """Doorbells of endpoints. Opens without a server; connects when first used, and again when needed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._redis = connect(url, timeout=None)  # each batch of rings has a timeout as a whole
        self._next: dict[tuple[int, bool], asyncio.Future[bool]] = {}
        self._flusher: asyncio.Task[None] | None = None
        self._pace = RingPace()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def ring(self, endpoint_id: int, *, is_late: bool = False) -> bool:
        """Wake a dispatcher for this endpoint. Returns whether Redis took it within 200 ms; never raises.

        Rings of one endpoint that have not been sent yet are sent as one. The sweeper sets `is_late`: then a job
        of this generation that was taken, but never raised the generation because its process died, is skipped.
        """
        waiting = self._next.get((endpoint_id, is_late))
        if waiting is None:
            waiting = asyncio.get_running_loop().create_future()
            self._next[endpoint_id, is_late] = waiting
            if self._flusher is None or self._flusher.done():
                self._flusher = asyncio.create_task(self._flush(), name="ring")
        try:
            async with asyncio.timeout(RING_TIMEOUT_SECONDS):
                return await asyncio.shield(waiting)
        except TimeoutError:
            return False

    async def probe(self, *, replaces_dead: bool = False) -> int | None:
        """Ring for no endpoint. Returns the generation that this probe has, None if Redis did not take it.

        The dispatcher that takes a probe raises the generation. `replaces_dead` raises it here, because a process
        that died may have taken the last probe.
        """
        key = f"{GENERATION_KEY_PREFIX}{PROBE_ID}"
        try:
            async with asyncio.timeout(RING_TIMEOUT_SECONDS):
                if replaces_dead:
                    generation = int(await self._redis.incr(key))
                else:
                    generation = _generation(await self._redis.get(key))
        except UNREACHABLE:
            return None
        return generation if await self.ring(PROBE_ID) else None

    async def run(
        self,
        handler: Handler,
        stop: asyncio.Event,
        *,
        max_lanes: int,
        report: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        """Call `handler(endpoint_id)` for doorbells until `stop`, at most `max_lanes` at once.

        If Redis becomes unreachable, arq's worker ends; new workers are tried until Redis is back. `report` is
        called with the reason, and with None when a worker works.
        """
        backoff = Backoff(first=0.2, longest=2.0)
        while not stop.is_set():
            try:
                job = self._job(handler)
                await run_worker(
                    self._url,
                    job,
                    stop,
                    backoff,
                    max_jobs=max_lanes,
                    report=report,
                    counter_of=self._counter_of,
                )
            except UNREACHABLE as error:
                log.warning("Redis is unreachable: %s", error)
                report(f"Redis cannot be used: {type(error).__name__}")
            except Exception:  # an entry that arq cannot read would end every worker
                log.exception("the queue cannot be read; it is emptied, and the sweeper rings again")
                report("the queue cannot be read")
                await self._empty_queue()
            if not stop.is_set():
                await wait_for_stop(stop, backoff.next())

    async def close(self) -> None:
        """Close the connections; rings that are not sent yet fail."""
        if self._flusher is not None:
            await cancel_all(self._flusher, within=1.0)
        _resolve(self._next, dict.fromkeys(self._next, False))
        await disconnect(self._redis)

    def _job(self, handler: Handler) -> JobFunction:
        clock = asyncio.get_running_loop().time

        async def lane(context: dict[Any, Any], endpoint_id: object) -> None:
            if not isinstance(endpoint_id, int):
                return
            if pause := self._pace.next_pause(endpoint_id, clock()):
                await asyncio.sleep(pause)  # until the generation is raised, further rings are this job
            if pause or not context["is_counted"]:
                await self._raise_generation(endpoint_id)
            if endpoint_id != PROBE_ID:
                await handler(endpoint_id)

        return lane

    def _counter_of(self, job: str) -> str | None:
        """The generation of a lone ring is raised as its job is taken, that of others after the pause."""
        endpoint_id = job.partition(":")[2].partition(":")[0]
        is_number = endpoint_id.removeprefix("-").isdecimal()
        if not is_number or not self._pace.is_lone(int(endpoint_id), asyncio.get_running_loop().time()):
            return None
        return f"{GENERATION_KEY_PREFIX}{endpoint_id}"

    async def _raise_generation(self, endpoint_id: int) -> None:
        """Before the handler reads the table. If this fails, rings during this job start no other job."""
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_SECONDS):
                await self._redis.incr(f"{GENERATION_KEY_PREFIX}{endpoint_id}")
        except UNREACHABLE as error:
            log.info("Redis did not answer: %s", error, extra={"endpoint_id": endpoint_id})

    async def _empty_queue(self) -> None:
        """Delete the queue. It holds doorbells only, each of which the sweeper rings again."""
        with contextlib.suppress(*UNREACHABLE):
            async with asyncio.timeout(COMMAND_TIMEOUT_SECONDS):
                await self._redis.delete(QUEUE_NAME)

    async def _flush(self) -> None:
        """Send the waiting rings, and those that come meanwhile, until none waits."""
        while self._next:
            batch, self._next = self._next, {}
            taken: dict[tuple[int, bool], bool] = {}
            try:
                async with asyncio.timeout(RING_TIMEOUT_SECONDS):
                    await self._send(batch)
                taken = dict.fromkeys(batch, True)
            except UNREACHABLE as error:
                log.debug("doorbells could not be sent: %s", error)
            finally:
                _resolve(batch, taken)

    async def _send(self, batch: dict[tuple[int, bool], asyncio.Future[bool]]) -> None:
        """Two round trips for any number of rings."""
        ids = {endpoint_id for endpoint_id, _ in batch}
        late = [endpoint_id for endpoint_id, is_late in batch if is_late]
        names = [f"{GENERATION_KEY_PREFIX}{endpoint_id}" for endpoint_id in ids]
        *found, before = map(_generation, await self._redis.mget([*names, SEQUENCE_KEY]))
        generations, score = dict(zip(ids, found, strict=True)), before + 1
        if late:
            await self._skip_dead_jobs(late, generations)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.incr(SEQUENCE_KEY)
            jobs = {id_: f"{JOB_NAME}:{id_}:{generation}" for id_, generation in generations.items()}
            for endpoint_id, job in jobs.items():
                work = serialize_job(JOB_NAME, (endpoint_id,), {}, None, score, serializer=encode_json)
                # Like arq's enqueue_job, for many at once. Both keys exist or neither: arq removes them together.
                pipe.set(job_key_prefix + job, work, nx=True, px=JOB_EXPIRY_MILLISECONDS)
                pipe.zadd(QUEUE_NAME, {job: score}, nx=True)
            push_wakes(pipe, jobs.values())
            await pipe.execute()

    async def _skip_dead_jobs(self, late: list[int], generations: dict[int, int]) -> None:
        """Raise the generation of endpoints whose job was taken although the generation is still the same."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for endpoint_id in late:
                pipe.exists(f"{in_progress_key_prefix}{JOB_NAME}:{endpoint_id}:{generations[endpoint_id]}")
            dead = [id_ for id_, is_taken in zip(late, await pipe.execute(), strict=True) if is_taken]
            for endpoint_id in dead:
                pipe.incr(f"{GENERATION_KEY_PREFIX}{endpoint_id}")
            generations.update(zip(dead, await pipe.execute(), strict=True))


def _resolve(
    waiting: dict[tuple[int, bool], asyncio.Future[bool]], taken: dict[tuple[int, bool], bool]
) -> None:
    for key, future in waiting.items():
        if not future.done():
            future.set_result(taken.get(key, False))


def _generation(value: bytes | None) -> int:
    return int(value) if value and value.isdigit() else 0
