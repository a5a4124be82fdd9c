"""Connections to Redis and the arq worker that runs the jobs of doorbells."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from arq.connections import ArqRedis
from arq.worker import func
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from superimap.core.backoff import Backoff
from superimap.core.environment import SettingsError
from superimap.doorbells.waking_worker import BLOCK_SECONDS, WakingWorker

log = logging.getLogger(__name__)

JobFunction = Callable[..., Coroutine[Any, Any, None]]

QUEUE_NAME = "superimap:lanes"
JOB_NAME = "lane"
COMMAND_TIMEOUT_SECONDS = 1.0
JOB_TIMEOUT_SECONDS = 30
STOP_GRACE_SECONDS = 25
HEALTHY_RUN_SECONDS = 5
"""A worker that ran for longer before it failed resets the backoff."""

UNREACHABLE = (RedisError, OSError, TimeoutError)


def connect(url: str, *, timeout: float | None) -> ArqRedis:
    """A client that connects when it is first used; `timeout` is the seconds for each of its commands.

    Raises SettingsError for an option of the URL that redis-py does not know.
    """
    # Before version 6, redis-py checks no host name unless it is told to. The URL takes precedence.
    is_verified = url.startswith("rediss://") and "ssl_cert_reqs=none" not in url
    tls = {"ssl_check_hostname": True} if is_verified else {}
    try:
        pool = ConnectionPool.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout, **tls)
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError):
        raise SettingsError(
            "REDIS_URL has an option after ? that is not known; correct or remove it."
        ) from None
    return ArqRedis(
        pool_or_conn=pool,
        job_serializer=encode_json,
        job_deserializer=json.loads,
        default_queue_name=QUEUE_NAME,
    )


async def disconnect(redis: ArqRedis) -> None:
    """Close all connections of a client."""
    try:
        await redis.aclose(close_connection_pool=True)
    except UNREACHABLE as error:
        log.debug("connection to Redis did not close cleanly: %s", error)


async def run_worker(
    url: str,
    job: JobFunction,
    stop: asyncio.Event,
    backoff: Backoff,
    *,
    max_jobs: int,
    report: Callable[[None], None],
    counter_of: Callable[[str], str | None],
) -> None:
    """Run jobs with one arq worker until it fails, or until `stop` is set and its jobs are done.

    `report` is called once the worker has read the queue. `counter_of` returns the key of the counter that is
    raised as a job is taken, None to leave that to the job. Raises one of UNREACHABLE if Redis becomes
    unreachable, and any other error for an entry of the queue that arq cannot read.
    """
    redis = connect(url, timeout=COMMAND_TIMEOUT_SECONDS)
    waiter = connect(url, timeout=BLOCK_SECONDS + COMMAND_TIMEOUT_SECONDS)
    worker = _worker(redis, job, max_jobs=max_jobs)
    worker.waiter, worker.report, worker.counter_of = waiter, report, counter_of
    try:
        await _run_until_stop(worker, stop, backoff)
    finally:
        await _end(worker, redis)
        await disconnect(waiter)


def _worker(redis: ArqRedis, job: JobFunction, *, max_jobs: int) -> WakingWorker:
    return WakingWorker(
        functions=[func(job, name=JOB_NAME)],
        redis_pool=redis,
        queue_name=QUEUE_NAME,
        handle_signals=False,
        max_jobs=max_jobs,
        job_timeout=JOB_TIMEOUT_SECONDS,
        job_completion_wait=STOP_GRACE_SECONDS,
        poll_delay=0.05,
        queue_read_limit=2000,
        keep_result=0,
        max_tries=1_000_000_000,
        log_results=False,
        job_serializer=encode_json,
        job_deserializer=json.loads,
    )


async def _run_until_stop(worker: WakingWorker, stop: asyncio.Event, backoff: Backoff) -> None:
    main = asyncio.create_task(worker.main(), name="queue")
    stopping = asyncio.create_task(stop.wait())
    started = time.monotonic()
    try:
        await asyncio.wait([main, stopping], return_when=asyncio.FIRST_COMPLETED)
        if main.done():
            if time.monotonic() - started > HEALTHY_RUN_SECONDS:
                backoff.reset()
            await main
            return
        worker.end()
        await asyncio.wait([main], timeout=2 * COMMAND_TIMEOUT_SECONDS)
        with contextlib.suppress(*UNREACHABLE):
            await worker.wake_another()  # the wait that was ended may have taken a wake-up
        if jobs := list(worker.tasks.values()):
            await asyncio.wait(jobs, timeout=STOP_GRACE_SECONDS)
    finally:
        stopping.cancel()
        await cancel_all(main, within=2 * COMMAND_TIMEOUT_SECONDS)


async def _end(worker: WakingWorker, redis: ArqRedis) -> None:
    """Cancel the worker's remaining jobs: they only wait for lanes, which go on without them."""
    jobs = list(worker.tasks.values())
    await cancel_all(*jobs, within=2 * COMMAND_TIMEOUT_SECONDS)
    for job in jobs:
        if job.done() and not job.cancelled() and (error := job.exception()) is not None:
            log.debug("doorbell could not be removed from the queue: %s", error)
    await disconnect(redis)


async def cancel_all(*tasks: asyncio.Task[Any], within: float) -> None:
    """Cancel tasks until they end, for at most `within` seconds.

    One cancellation is not enough: redis-py's `wait_for` swallows one that comes as its command ends.
    """
    end = time.monotonic() + within
    while (alive := [task for task in tasks if not task.done()]) and time.monotonic() < end:
        for task in alive:
            task.cancel()
        await asyncio.wait(alive, timeout=0.05)


def encode_json(value: object) -> bytes:
    """JSON, never pickle: a client that can write to Redis can ring a doorbell and do no more."""
    return json.dumps(value, default=repr, separators=(",", ":")).encode()
