"""Doorbells that are not heard, whatever the reason: lanes start locally, /readyz says so, all recovers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import arq.worker
import pytest
from redis.asyncio import Redis

from superimap.core import metrics
from superimap.core.health import Readiness
from superimap.dispatcher.hearing import DoorbellHearing
from superimap.doorbells.arq_worker import QUEUE_NAME
from superimap.doorbells.redis import GENERATION_KEY_PREFIX, PROBE_ID, EndpointDoorbell
from superimap.doorbells.waking_worker import WakingWorker
from tests.integration.dispatcher.conftest import FAST, SinkWorld, eventually
from tests.support.queue_eater import jobs_eaten

# A busy machine may take a probe late; sweeps as often as these would call that deaf.
TIMINGS = replace(FAST, sweep_interval=0.3)
MAX_SECONDS = 2.0


@contextlib.asynccontextmanager
async def worker_that_hangs(_world: SinkWorld, patch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    with patch.context() as context:
        context.setattr(WakingWorker, "_take_jobs", hang)
        yield


def consumer_that_eats_jobs(world: SinkWorld, _patch: object) -> contextlib.AbstractAsyncContextManager[None]:
    return jobs_eaten(world.redis_url)


@contextlib.asynccontextmanager
async def queue_of_another_type(world: SinkWorld, _patch: object) -> AsyncIterator[None]:
    async with Redis.from_url(world.redis_url) as redis:
        await redis.set(QUEUE_NAME, "x")
        yield
        await redis.delete(QUEUE_NAME)


@contextlib.asynccontextmanager
async def full_redis(world: SinkWorld, _patch: object) -> AsyncIterator[None]:
    async with Redis.from_url(world.redis_url) as redis:
        await redis.config_set("maxmemory", "1")
        try:
            yield
        finally:
            await redis.config_set("maxmemory", "0")


@contextlib.asynccontextmanager
async def user_without_permission_to_read_the_queue(world: SinkWorld, _patch: object) -> AsyncIterator[None]:
    async with Redis.from_url(world.redis_url) as redis:
        await redis.execute_command("ACL", "SETUSER", "default", "-zrange")
        try:
            yield
        finally:
            await redis.execute_command("ACL", "SETUSER", "default", "+@all")


CAUSES = [
    worker_that_hangs, consumer_that_eats_jobs, queue_of_another_type, full_redis,
    user_without_permission_to_read_the_queue,
]  # fmt: skip


@pytest.mark.parametrize("cause", CAUSES, ids=lambda each: each.__name__)
async def test_lanes_start_locally_within_two_seconds_and_readyz_says_so(
    world: SinkWorld, monkeypatch, cause
):
    health = Readiness()
    endpoint = await world.endpoint()
    async with contextlib.AsyncExitStack() as stack:
        away = await stack.enter_async_context(contextlib.AsyncExitStack())
        if cause is worker_that_hangs:  # it must hang from its start
            await away.enter_async_context(cause(world, monkeypatch))
        await stack.enter_async_context(world.dispatcher(timings=TIMINGS, health=health))
        await world.add_deliveries(endpoint)
        await world.sink.wait_for(lambda got: len(got) == 1)
        if cause is not worker_that_hangs:
            await away.enter_async_context(cause(world, monkeypatch))
        before, began = len(world.sink.received), time.monotonic()
        await world.add_deliveries(endpoint)
        await world.sink.wait_for(lambda got: len(got) == before + 1)
        assert time.monotonic() - began < MAX_SECONDS
        await eventually(lambda: asyncio.sleep(0, "doorbells" in health.notes))
        assert gauge() == 1

        await away.aclose()
        if cause is not worker_that_hangs:  # a task that hangs stays so
            await eventually(lambda: asyncio.sleep(0, not health.notes))
            assert gauge() == 0


async def test_a_consumer_that_eats_only_some_jobs_delays_no_webhook(world: SinkWorld):
    health, endpoint = Readiness(), await world.endpoint()
    async with Redis.from_url(world.redis_url) as redis, world.dispatcher(timings=TIMINGS, health=health):
        await eventually(lambda: redis.get(f"{GENERATION_KEY_PREFIX}{PROBE_ID}"))
        eating = asyncio.create_task(_eat_lanes(redis, endpoint))
        try:
            for number in (1, 2):
                began = time.monotonic()
                await world.add_deliveries(endpoint)
                await world.sink.wait_for(lambda got, number=number: len(got) == number)
                assert time.monotonic() - began < MAX_SECONDS
            assert not health.notes, "the probes are taken"
        finally:
            eating.cancel()


async def _eat_lanes(redis: Redis, endpoint: int) -> None:
    while True:
        for job in await redis.zrange(QUEUE_NAME, 0, -1):
            if job.startswith(b"lane:%d:" % endpoint):
                await redis.zrem(QUEUE_NAME, job)
        await asyncio.sleep(0)


class UntakenProbes:
    """A doorbell whose probes wait in the queue while nobody takes them."""

    generation = 7
    probes = 0

    async def probe(self, *, replaces_dead: bool = False) -> int:
        self.probes += 1
        self.generation += replaces_dead
        return self.generation


async def test_probes_that_wait_while_this_dispatcher_is_busy_are_not_reported():
    health = Readiness()
    hearing = DoorbellHearing(UntakenProbes(), health)
    for _ in range(5):
        await hearing.probe(is_busy=True)
    assert not health.notes and not hearing.is_unheard(1)

    await hearing.probe(is_busy=False)
    assert hearing.is_unheard(1)
    await hearing.probe(is_busy=False)
    assert "doorbells" in health.notes
    hearing.clear()


async def test_probes_of_which_only_some_are_taken_are_reported():
    health, doorbell = Readiness(), UntakenProbes()
    hearing = DoorbellHearing(doorbell, health)
    await hearing.probe(is_busy=False)
    for is_taken in (False, True, True, False, True):
        doorbell.generation += is_taken
        await hearing.probe(is_busy=False)
        assert not health.notes, "a process that ends may take a probe with it"
    await hearing.probe(is_busy=False)
    assert "did not take 3 of the last 7" in health.notes["doorbells"]
    for _ in range(4):
        doorbell.generation += 1
        await hearing.probe(is_busy=False)
        assert "doorbells" in health.notes
    doorbell.generation += 1
    await hearing.probe(is_busy=False)
    assert not health.notes, "two of the last ten are missed"
    hearing.clear()


async def test_two_of_six_sweeps_send_a_probe_until_one_is_not_taken():
    doorbell = UntakenProbes()
    hearing, sent = DoorbellHearing(doorbell, Readiness()), []
    for sweep in range(14):
        doorbell.generation += sweep < 13
        before = doorbell.probes
        await hearing.probe(is_busy=False)
        sent.append(doorbell.probes - before)
    assert sent == [1, 1, 0, 0, 0, 0] * 2 + [1, 1]
    assert hearing.is_unheard(1), "the last one"

    for _ in range(8):
        doorbell.generation += 1
        before = doorbell.probes
        await hearing.probe(is_busy=False)
        assert doorbell.probes == before + 1
    hearing.clear()


def gauge() -> float:
    (metric,) = metrics.DOORBELLS_UNHEARD.collect()
    return metric.samples[0].value


async def test_doorbells_that_are_heard_are_not_reported(world: SinkWorld):
    health, endpoint = Readiness(), await world.endpoint()
    async with world.dispatcher(timings=replace(TIMINGS, sweep_interval=0.2), health=health):
        for number in range(5):
            await world.add_deliveries(endpoint)
            await world.sink.wait_for(lambda got, number=number: len(got) == number + 1)
            await asyncio.sleep(0.2)
            assert not health.notes


async def test_a_user_of_redis_without_info_hears_doorbells(world: SinkWorld):
    health, endpoint = Readiness(), await world.endpoint()
    async with Redis.from_url(world.redis_url) as redis:
        await redis.execute_command("ACL", "SETUSER", "noinfo", "on", ">pw", "~*", "&*", "+@all", "-info")
        url = world.redis_url.replace("://", "://noinfo:pw@", 1)
        # Without a sweeper: only a doorbell can start the lane.
        async with world.dispatcher(timings=replace(FAST, sweep_interval=60.0), health=health, redis_url=url):
            await asyncio.sleep(0.2)
            await world.add_deliveries(endpoint)
            await world.sink.wait_for(lambda got: len(got) == 1)
        assert not health.notes
        await redis.execute_command("ACL", "DELUSER", "noinfo")


@pytest.mark.parametrize("entry", [{b"\xff\xfe": 1}, {"x": "-inf"}])
async def test_an_entry_that_cannot_be_read_does_not_end_the_dispatcher(world: SinkWorld, entry):
    endpoint = await world.endpoint()
    async with world.dispatcher(timings=TIMINGS), Redis.from_url(world.redis_url) as redis:
        await redis.set("arq:job:x", b"x")
        await redis.zadd(QUEUE_NAME, entry)
        await eventually(lambda: is_gone(redis, next(iter(entry))))
        for number in (1, 2):
            await world.add_deliveries(endpoint)
            await world.sink.wait_for(lambda got, number=number: len(got) == number)


async def is_gone(redis: Redis, entry: str) -> bool:
    return await redis.zscore(QUEUE_NAME, entry) is None


# Clocks.

HOUR_MS = 3_600_000


@pytest.mark.parametrize("reader_is_off_by", [-HOUR_MS, 0, HOUR_MS])
async def test_no_clock_decides_when_a_doorbell_is_due(world: SinkWorld, monkeypatch, reader_is_off_by):
    now = arq.worker.timestamp_ms
    monkeypatch.setattr(arq.worker, "timestamp_ms", lambda: now() + reader_is_off_by)
    monkeypatch.setattr(time, "time", lambda real=time.time: real() + 1800)  # of the process that rings
    endpoint = await world.endpoint()
    async with world.dispatcher(timings=replace(FAST, sweep_interval=60.0)):
        await asyncio.sleep(0.2)
        await world.add_deliveries(endpoint)
        await world.sink.wait_for(lambda got: len(got) == 1, timeout=3)


async def test_doorbells_are_taken_in_the_order_of_their_rings(redis_url: str):
    async with EndpointDoorbell(redis_url) as queue, Redis.from_url(redis_url) as redis:
        for endpoint in (30, 4, 200):
            await queue.ring(endpoint)

        assert await redis.zrange(QUEUE_NAME, 0, -1) == [b"lane:30:0", b"lane:4:0", b"lane:200:0"]
