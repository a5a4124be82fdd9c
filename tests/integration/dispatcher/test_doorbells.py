"""Doorbells of endpoints: rings are combined, and a ring during a look causes another look."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection

from superimap.core.environment import SettingsError
from superimap.doorbells import arq_worker, waking_worker
from superimap.doorbells.redis import GENERATION_KEY_PREFIX, QUEUE_NAME, EndpointDoorbell
from superimap.doorbells.waking_worker import BLOCK_SECONDS, WAKE_KEY
from tests.integration.dispatcher.conftest import eventually


@contextlib.asynccontextmanager
async def working(queue: EndpointDoorbell, handler, *, max_lanes: int = 10) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(queue.run(handler, stop, max_lanes=max_lanes))
    try:
        yield
    finally:
        stop.set()
        await task


async def test_a_ring_at_a_server_that_hangs_delays_its_caller_for_200_ms():
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with EndpointDoorbell(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}") as queue:
        began = time.monotonic()
        assert not await queue.ring(1)
        assert await queue.probe() is None
    assert 0.2 < time.monotonic() - began < 1.0, "twice"
    server.close()


@pytest.mark.parametrize("option", ["no_such_option=hush", "socket_timeout=hush"])
def test_an_option_of_the_url_that_is_not_known_is_refused_at_the_start(option):
    with pytest.raises(SettingsError, match=r"^REDIS_URL has an option") as raised:
        EndpointDoorbell(f"redis://:hush@localhost/0?{option}")

    assert "hush" not in str(raised.value)


async def test_many_rings_wait_as_one_job(redis_url: str):
    async with EndpointDoorbell(redis_url) as queue, Redis.from_url(redis_url) as redis:
        assert all(await asyncio.gather(*(queue.ring(1) for _ in range(100))))
        for _ in range(20):
            assert await queue.ring(1)
        assert await queue.ring(2)

        assert await redis.zcard(QUEUE_NAME) == 2


async def test_a_ring_while_the_handler_runs_calls_it_again(redis_url: str):
    calls, go = [], asyncio.Event()

    async def handler(endpoint_id: int) -> None:
        calls.append(endpoint_id)
        await go.wait()

    async with EndpointDoorbell(redis_url) as queue, working(queue, handler):
        await queue.ring(7)
        await eventually(lambda: _true(calls == [7]))
        await queue.ring(7)
        await eventually(lambda: _true(calls == [7, 7]))
        go.set()
    assert calls == [7, 7]


async def test_rings_of_a_burst_are_answered_together(redis_url: str):
    calls: list[int] = []

    async def handler(endpoint_id: int) -> None:
        calls.append(endpoint_id)

    async with EndpointDoorbell(redis_url) as queue, working(queue, handler):
        for _ in range(200):
            await queue.ring(7)
        await queue.ring(8)
        await eventually(lambda: _true(8 in calls))
    assert 1 < calls.count(7) < 50


async def test_a_ring_is_answered_long_before_the_queue_is_polled(redis_url: str, monkeypatch):
    monkeypatch.setattr(waking_worker, "BLOCK_SECONDS", 60)
    calls: list[int] = []

    async def handler(endpoint_id: int) -> None:
        calls.append(endpoint_id)

    async with EndpointDoorbell(redis_url) as queue, working(queue, handler):
        for number in range(20):
            await queue.ring(number)
            await eventually(lambda number=number: _true(number in calls))


async def test_a_worker_without_room_wakes_another_for_the_rest_of_a_batch(redis_url: str, monkeypatch):
    monkeypatch.setattr(waking_worker, "BLOCK_SECONDS", 60)
    calls, go = set(), asyncio.Event()

    async def handler(endpoint_id: int) -> None:
        calls.add(endpoint_id)
        await go.wait()

    async with (
        EndpointDoorbell(redis_url) as one,
        EndpointDoorbell(redis_url) as other,
        working(one, handler, max_lanes=1),
        working(other, handler, max_lanes=1),
    ):
        await asyncio.gather(one.ring(1), one.ring(2))
        await eventually(lambda: _true(calls == {1, 2}))
        go.set()


async def test_a_worker_that_waits_stops_at_once(redis_url: str, monkeypatch):
    monkeypatch.setattr(waking_worker, "BLOCK_SECONDS", 60)
    stop = asyncio.Event()
    async with EndpointDoorbell(redis_url) as queue, Redis.from_url(redis_url) as redis:
        task = asyncio.create_task(queue.run(_ignored, stop, max_lanes=1))

        async def is_waiting() -> bool:
            return (await redis.info("clients"))["blocked_clients"] == 1

        await eventually(is_waiting)
        stop.set()
        async with asyncio.timeout(1):
            await task


async def _ignored(_: int) -> None: ...


async def test_the_queue_is_polled_where_redis_refuses_to_block(redis_url: str):
    calls: list[int] = []

    async def handler(endpoint_id: int) -> None:
        calls.append(endpoint_id)

    async with Redis.from_url(redis_url) as redis:
        await redis.acl_setuser(
            "lane", enabled=True, nopass=True, categories=["+@all", "-@blocking"], keys=["*"]
        )
    address = redis_url.replace("unix://", "unix://lane:x@").replace("redis://", "redis://lane:x@")
    async with EndpointDoorbell(address) as queue, working(queue, handler):
        for number in range(3):
            await queue.ring(number)
            await eventually(lambda number=number: _true(number in calls))


async def test_a_lost_wake_up_costs_a_second_and_no_ring(redis_url: str):
    """The process that took it has died."""
    calls: list[int] = []

    async def handler(endpoint_id: int) -> None:
        calls.append(endpoint_id)

    async with EndpointDoorbell(redis_url) as queue, Redis.from_url(redis_url) as redis:
        await queue.ring(7)
        await redis.delete(WAKE_KEY)
        async with working(queue, handler):
            await eventually(lambda: _true(calls == [7]))


async def test_a_wake_up_of_an_earlier_version_is_a_look_at_the_whole_queue(redis_url: str):
    calls: list[int] = []

    async def handler(endpoint_id: int) -> None:
        calls.append(endpoint_id)

    async with (
        EndpointDoorbell(redis_url) as queue,
        Redis.from_url(redis_url) as redis,
        working(queue, handler),
    ):
        await queue.ring(1)
        await eventually(lambda: _true(calls == [1]))
        await redis.set("arq:job:lane:7:0", b'{"f":"lane","a":[7],"k":{},"t":null,"et":1}')
        await redis.zadd(QUEUE_NAME, {"lane:7:0": 1})
        await redis.lpush(WAKE_KEY, "1")
        await eventually(lambda: _true(calls == [1, 7]), within=BLOCK_SECONDS / 2)


async def test_a_ring_during_a_look_at_the_whole_queue_waits_for_no_other_look(redis_url: str, monkeypatch):
    for module in (waking_worker, arq_worker):
        monkeypatch.setattr(module, "BLOCK_SECONDS", 60)
    calls: list[int] = []
    zrange = ArqRedis.zrange

    async def handler(endpoint_id: int) -> None:
        calls.append(endpoint_id)

    async with EndpointDoorbell(redis_url) as queue, EndpointDoorbell(redis_url) as ringing:

        async def ring_after_reading(redis: ArqRedis, *args: Any) -> Any:
            read = await zrange(redis, *args)
            await ringing.ring(2)
            return read

        await queue.ring(1)
        monkeypatch.setattr(ArqRedis, "zrange", ring_after_reading)
        async with working(queue, handler):
            await eventually(lambda: _true(sorted(calls) == [1, 2]))


async def test_a_worker_with_little_room_passes_jobs_in_progress_elsewhere(redis_url: str):
    """A look at the whole queue costs one round trip for all of them, and no other job for their endpoints."""
    called = asyncio.Event()

    async def handler(_: int) -> None:
        called.set()

    async with EndpointDoorbell(redis_url) as queue, Redis.from_url(redis_url) as redis:
        jobs = [f"lane:{endpoint}:0" for endpoint in range(1000, 2500)]
        await redis.mset({f"{in_progress_key_prefix}{job}": b"1" for job in jobs})
        await redis.zadd(QUEUE_NAME, dict.fromkeys(jobs, 0.5))
        await queue.ring(7)
        await redis.delete(WAKE_KEY)
        before = (await redis.info("commandstats"))["cmdstat_set"]["calls"]
        async with working(queue, handler, max_lanes=1), asyncio.timeout(10):
            await called.wait()

        assert (await redis.info("commandstats"))["cmdstat_set"]["calls"] - before < 10
        assert await redis.keys(f"{GENERATION_KEY_PREFIX}*") == [f"{GENERATION_KEY_PREFIX}7".encode()]


async def test_a_lone_ring_takes_three_round_trips_of_its_dispatcher(redis_url: str, monkeypatch):
    """The taking of its job, the removal of it, and the wait for the next one."""
    sent: list[tuple[AbstractConnection, bytes]] = []
    calls: list[int] = []
    send = AbstractConnection.send_packed_command

    async def record(connection: AbstractConnection, command: Any, *args: Any, **options: Any) -> None:
        sent.append((connection, b"".join(command) if isinstance(command, list) else command))
        await send(connection, command, *args, **options)

    async def handler(endpoint_id: int) -> None:
        calls.append(endpoint_id)

    async with (
        EndpointDoorbell(redis_url) as queue,
        Redis.from_url(redis_url) as redis,
        EndpointDoorbell(redis_url) as ringing,
        working(queue, handler),
    ):
        await ringing.ring(1)
        await eventually(lambda: _empty(redis))
        monkeypatch.setattr(AbstractConnection, "send_packed_command", record)
        await ringing.ring(2)
        for last in (b"ZREM", b"BLPOP"):
            await eventually(lambda last=last: _true(any(last in command for _, command in sent)))
        monkeypatch.undo()
    (rings,) = (connection for connection, command in sent if b"ZADD" in command)
    assert calls == [1, 2]
    assert len([connection for connection, _ in sent if connection is not rings]) == 3, sent


@pytest.mark.parametrize("queues", [1, 2])
async def test_the_handler_called_for_a_ring_sees_rows_committed_before_it(redis_url: str, queues: int):
    committed, seen = 0, 0

    async def handler(_: int) -> None:
        nonlocal seen
        looked = committed
        await asyncio.sleep(0.002)
        seen = max(seen, looked)

    async with contextlib.AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(EndpointDoorbell(redis_url)) for _ in range(queues)]
        for queue in opened:
            await stack.enter_async_context(working(queue, handler))
        for number in range(300):
            committed = number
            await opened[number % queues].ring(1)
            if number % 7 == 0:
                await asyncio.sleep(0.003)
        await eventually(lambda: _true(seen == 299))


async def test_a_job_of_a_process_that_died_before_handling_it_is_skipped(redis_url: str):
    calls = []

    async def handler(endpoint_id: int) -> None:
        calls.append(endpoint_id)

    async with EndpointDoorbell(redis_url) as queue, Redis.from_url(redis_url) as redis:
        await queue.ring(5)
        await redis.set("arq:in-progress:lane:5:0", b"1", ex=60)
        async with working(queue, handler):
            assert await queue.ring(5)
            assert await redis.zcard(QUEUE_NAME) == 1
            assert await queue.ring(5, is_late=True)
            await eventually(lambda: _true(calls == [5]))


async def test_late_rings_do_not_pile_up_while_every_lane_is_taken(redis_url: str):
    async with EndpointDoorbell(redis_url) as queue, Redis.from_url(redis_url) as redis:
        for _ in range(50):
            assert await queue.ring(5, is_late=True)

        assert await redis.zcard(QUEUE_NAME) == 1


async def test_foreign_jobs_have_no_effect(redis_url: str):
    calls = []

    async def handler(endpoint_id: int) -> None:
        calls.append(endpoint_id)

    jobs = {
        "a": pickle.dumps(Trap()),
        "b": b'{"f":"os.system","a":["true"],"k":{},"t":null,"et":1}',
        "c": b'{"f":"lane","a":["1; DROP TABLE"],"k":{},"t":null,"et":1}',
        "d": b'{"f":"lane","a":[],"k":{"x":1},"t":null,"et":1}',
        "e": b"\xff",
    }
    async with EndpointDoorbell(redis_url) as queue, Redis.from_url(redis_url) as redis:
        for name, job in jobs.items():
            await redis.set(f"arq:job:{name}", job)
            await redis.zadd(QUEUE_NAME, {name: 1})
        await redis.set(f"{GENERATION_KEY_PREFIX}1", b"nonsense")
        async with working(queue, handler):
            await queue.ring(1)
            await eventually(lambda: _true(calls == [1]))
            await eventually(lambda: _empty(redis))
    assert calls == [1]


async def test_no_more_lanes_than_allowed_run_at_once(redis_url: str):
    now = most = done = 0

    async def handler(_: int) -> None:
        nonlocal now, most, done
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.04)
        now -= 1
        done += 1

    async with EndpointDoorbell(redis_url) as queue, working(queue, handler, max_lanes=3):
        await asyncio.gather(*(queue.ring(number) for number in range(20)))
        await eventually(lambda: _true(done == 20))
    assert most == 3


async def test_the_doorbell_opens_and_closes_without_a_server():
    async with (
        EndpointDoorbell("unix:///nonexistent.sock") as queue,
        working(queue, lambda _: asyncio.sleep(0)),
    ):
        assert await queue.ring(1) is False


async def test_a_handler_that_fails_does_not_stop_the_next(redis_url: str):
    calls = []

    async def handler(endpoint_id: int) -> None:
        calls.append(endpoint_id)
        raise RuntimeError

    async with EndpointDoorbell(redis_url) as queue, working(queue, handler):
        for number in (1, 2):
            await queue.ring(number)
            await eventually(lambda number=number: _true(number in calls))


class Trap:
    """An object whose unpickling fails the test."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("unpickled",)


async def _true(value: bool) -> bool:
    return value


async def _empty(redis: Redis) -> bool:
    return not await redis.zcard(QUEUE_NAME)
