"""How does a dispatcher learn that an endpoint has work? arq behind three verbs: ring, run, close.

The queue carries doorbells, never payloads: a lost one costs a second (the sweeper rings again), a doubled one
costs a look. `ring` enqueues `lane:{endpoint}:{generation}`; whoever takes that job raises the generation before
it looks at the table. So a row committed before the ring is always seen: the job that stands for this generation
has not looked yet, or the generation is a new one and so is the job. At most one job waits per endpoint.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix
from arq.jobs import serialize_job
from arq.worker import Worker, func
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from superimap.core.backoff import Backoff

log = logging.getLogger(__name__)

Handler = Callable[[int], Awaitable[None]]
Looker = Callable[..., Coroutine[Any, Any, None]]

QUEUE_NAME = "superimap:lanes"
GENERATION_KEY_PREFIX = "superimap:gen:"
JOB_NAME = "lane"
RING_TIMEOUT_SECONDS = 0.2
"""Seconds for which a ring may keep its caller."""

COMMAND_TIMEOUT_SECONDS = 1.0
JOB_TIMEOUT_SECONDS = 30
STOP_GRACE_SECONDS = 25
JOB_EXPIRY_MILLISECONDS = 86_400_000
UNREACHABLE = (RedisError, OSError, TimeoutError)


class EndpointDoorbell:
    """Doorbells of endpoints. Opens without a server; connects when first used, and again when needed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._redis = _connect(url, timeout=None)  # bounded as a whole, not by the command
        self._next: dict[tuple[int, bool], asyncio.Future[bool]] = {}
        self._flusher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def ring(self, endpoint_id: int, *, is_late: bool = False) -> bool:
        """Have some dispatcher look at this endpoint. Whether Redis took it within 200 ms; never raises.

        Rings of one endpoint that have not set out yet travel as one. `is_late` is the sweeper's: a job of
        this generation that was taken but never looked (its process died just then) is passed by.
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

    async def run(self, handler: Handler, stop: asyncio.Event, *, max_lanes: int) -> None:
        """Call `handler(endpoint_id)` for doorbells until `stop`, at most `max_lanes` at once.

        Redis going away ends arq's worker; another one is tried until it is back.
        """
        backoff = Backoff(first=0.2, longest=2.0)
        while not stop.is_set():
            redis = _connect(self._url, timeout=COMMAND_TIMEOUT_SECONDS)
            worker = _worker(redis, self._looker(handler), max_lanes=max_lanes)
            try:
                await _work(worker, stop, backoff)
            except UNREACHABLE as error:
                log.warning("the queue is unreachable: %s", error)
            finally:
                await _end(worker, redis)
            if not stop.is_set():
                await _pause(stop, backoff.next())

    async def close(self) -> None:
        """Let go of the connections; rings under way are given up."""
        if self._flusher is not None:
            await _cancel(self._flusher, within=1.0)
        _resolve(self._next, dict.fromkeys(self._next, False))
        await _disconnect(self._redis)

    def _looker(self, handler: Handler) -> Looker:
        async def lane(_: dict[Any, Any], endpoint_id: object) -> None:
            if not isinstance(endpoint_id, int):
                return
            try:  # before the handler reads anything; if it fails, rings until the end of this job go unheard
                async with asyncio.timeout(COMMAND_TIMEOUT_SECONDS):
                    await self._redis.incr(f"{GENERATION_KEY_PREFIX}{endpoint_id}")
            except UNREACHABLE as error:
                log.info("the queue did not answer: %s", error, extra={"endpoint_id": endpoint_id})
            await handler(endpoint_id)

        return lane

    async def _flush(self) -> None:
        """Send what waits, and what came meanwhile, until nothing waits."""
        while self._next:
            batch, self._next = self._next, {}
            taken: dict[tuple[int, bool], bool] = {}
            try:
                async with asyncio.timeout(RING_TIMEOUT_SECONDS):
                    await self._send(batch)
                taken = dict.fromkeys(batch, True)
            except UNREACHABLE as error:
                log.debug("no doorbell rang: %s", error)
            finally:
                _resolve(batch, taken)

    async def _send(self, batch: dict[tuple[int, bool], asyncio.Future[bool]]) -> None:
        """Two round trips, however many ring."""
        ids = {endpoint_id for endpoint_id, _ in batch}
        late = [endpoint_id for endpoint_id, is_late in batch if is_late]
        names = [f"{GENERATION_KEY_PREFIX}{endpoint_id}" for endpoint_id in ids]
        generations = dict(zip(ids, map(_number, await self._redis.mget(names)), strict=True))
        if late:
            await self._pass_dead(late, generations)
        now = int(time.time() * 1000)
        async with self._redis.pipeline(transaction=True) as pipe:
            for endpoint_id, generation in generations.items():
                job = f"{JOB_NAME}:{endpoint_id}:{generation}"
                work = serialize_job(JOB_NAME, (endpoint_id,), {}, None, now, serializer=_dumps)
                # As arq's enqueue_job, for many at once. Both or none exist: arq removes them together.
                pipe.set(job_key_prefix + job, work, nx=True, px=JOB_EXPIRY_MILLISECONDS)
                pipe.zadd(QUEUE_NAME, {job: now}, nx=True)
            await pipe.execute()

    async def _pass_dead(self, late: list[int], generations: dict[int, int]) -> None:
        """Raise the generation where its job was taken and yet the generation is still the same."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for endpoint_id in late:
                pipe.exists(f"{in_progress_key_prefix}{JOB_NAME}:{endpoint_id}:{generations[endpoint_id]}")
            dead = [id_ for id_, is_taken in zip(late, await pipe.execute(), strict=True) if is_taken]
            for endpoint_id in dead:
                pipe.incr(f"{GENERATION_KEY_PREFIX}{endpoint_id}")
            generations.update(zip(dead, await pipe.execute(), strict=True))


def _connect(url: str, *, timeout: float | None) -> ArqRedis:
    """A client without a connection yet; `timeout` bounds each of its commands."""
    pool = ConnectionPool.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
    return ArqRedis(
        pool_or_conn=pool, job_serializer=_dumps, job_deserializer=json.loads, default_queue_name=QUEUE_NAME
    )


class _Worker(Worker):
    """arq's, which lets nobody know of a job that it could not put away, but the event loop's log of errors."""

    async def finish_job(self, *args: Any, **kwargs: Any) -> None:
        try:
            await super().finish_job(*args, **kwargs)
        except UNREACHABLE as error:  # its generation is passed by, as that of a process that died
            log.debug("a doorbell was not put away: %s", error)


def _worker(redis: ArqRedis, lane: Looker, *, max_lanes: int) -> Worker:
    return _Worker(
        functions=[func(lane, name=JOB_NAME)],
        redis_pool=redis,
        queue_name=QUEUE_NAME,
        handle_signals=False,
        max_jobs=max_lanes,
        job_timeout=JOB_TIMEOUT_SECONDS,
        job_completion_wait=STOP_GRACE_SECONDS,
        poll_delay=0.05,
        queue_read_limit=2000,
        keep_result=0,
        max_tries=1_000_000_000,
        log_results=False,
        job_serializer=_dumps,
        job_deserializer=json.loads,
    )


async def _work(worker: Worker, stop: asyncio.Event, backoff: Backoff) -> None:
    """Run the worker until it fails or `stop` is set and its jobs are done."""
    main = asyncio.create_task(worker.main(), name="queue")
    stopping = asyncio.create_task(stop.wait())
    started = time.monotonic()
    try:
        await asyncio.wait([main, stopping], return_when=asyncio.FIRST_COMPLETED)
        if main.done():
            if time.monotonic() - started > 5:
                backoff.reset()
            await main
            return
        worker.allow_pick_jobs = False
        if jobs := list(worker.tasks.values()):
            await asyncio.wait(jobs, timeout=STOP_GRACE_SECONDS)
    finally:
        stopping.cancel()
        await _cancel(main, within=2 * COMMAND_TIMEOUT_SECONDS)


async def _end(worker: Worker, redis: ArqRedis) -> None:
    """Cancel what is left of a worker's jobs: they only wait for lanes, which have a life of their own."""
    jobs = list(worker.tasks.values())
    await _cancel(*jobs, within=2 * COMMAND_TIMEOUT_SECONDS)
    for job in jobs:
        if job.done() and not job.cancelled() and (error := job.exception()) is not None:
            log.debug("a doorbell was not put away: %s", error)
    await _disconnect(redis)


async def _cancel(*tasks: asyncio.Task[Any], within: float) -> None:
    """Cancel until they end: redis-py's `wait_for` swallows a cancellation that comes as its command ends."""
    end = time.monotonic() + within
    while (alive := [task for task in tasks if not task.done()]) and time.monotonic() < end:
        for task in alive:
            task.cancel()
        await asyncio.wait(alive, timeout=0.05)


async def _disconnect(redis: ArqRedis) -> None:
    try:
        await redis.aclose(close_connection_pool=True)
    except UNREACHABLE as error:
        log.debug("closing the queue: %s", error)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass


def _resolve(
    waiting: dict[tuple[int, bool], asyncio.Future[bool]], taken: dict[tuple[int, bool], bool]
) -> None:
    for key, future in waiting.items():
        if not future.done():
            future.set_result(taken.get(key, False))


def _number(value: bytes | None) -> int:
    return int(value) if value and value.isdigit() else 0


def _dumps(value: object) -> bytes:
    """JSON, never pickle: who can write to Redis can ring a bell and do no more."""
    return json.dumps(value, default=repr, separators=(",", ":")).encode()
