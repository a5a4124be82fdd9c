"""A dispatcher, Redis or PostgreSQL ends at any moment: nothing is lost, and a duplicate has the same id."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from redis.asyncio import Redis

from superimap.db.presence import DISPATCHER_LOCK_SPACE
from superimap.dispatcher.lanes.limits import MAX_UNPROVEN_POSTS
from superimap.doorbells.redis import EndpointDoorbell
from superimap.launch import engines as embedded
from superimap.testing import Received, WebhookSink
from superimap.webhooks.signing import webhook_id
from tests.integration.dispatcher.conftest import FAST, KEY, SinkWorld, eventually
from tests.support.db_proxy import DbProxy

MAX_POSTS = 4
START_TIMEOUT_SECONDS = 40.0  # for a process to start and send something, on a busy machine

DISPATCHER = """
import asyncio, sys
from superimap.core.environment import load_settings
from superimap.dispatcher.main import serve
from tests.integration.dispatcher.conftest import FAST
asyncio.run(serve(load_settings(), asyncio.Event(), timings=FAST))
"""


@contextlib.asynccontextmanager
async def process(
    world: SinkWorld, *arguments: str, timeout: float = 1
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a dispatcher in a process of its own, which the test may kill.

    `arguments` are those of Python; without them the dispatcher runs with the short timings of tests.
    """
    environment = os.environ | {
        "ENVIRONMENT": "development",
        "DATABASE_URL": world.database_url,
        "REDIS_URL": world.redis_url,
        "ENCRYPTION_KEY": KEY,
        "WEBHOOK_TIMEOUT": str(timeout),
        "POSTS_PER_ENDPOINT": str(MAX_POSTS),
    }
    root = Path(__file__).parents[3]
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *(arguments or ("-c", DISPATCHER)),
        cwd=root,
        env=environment,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


def counted(sink: WebhookSink) -> Counter[str]:
    return Counter(received.headers["webhook-id"] for received in sink.received)


async def test_after_kill_9_everything_arrives_and_only_posts_in_flight_arrive_twice(world: SinkWorld):
    async def slowly(_: Received) -> int:
        await asyncio.sleep(0.05)
        return 200

    world.sink.answer = slowly
    endpoint = await world.endpoint()
    async with process(world) as first:
        delivery_ids = await world.add_deliveries(endpoint, 30)
        await world.sink.wait_for(10, START_TIMEOUT_SECONDS)
        first.send_signal(signal.SIGKILL)
        await first.wait()
        had = world.sink.count
    assert had < 30
    async with process(world):
        await eventually(lambda: _all_delivered(world, 30), within=START_TIMEOUT_SECONDS)

    counts = counted(world.sink)
    assert set(counts) == {webhook_id(id_) for id_ in delivery_ids}
    assert sum(counts.values()) - len(counts) <= MAX_POSTS
    assert max(counts.values()) <= 2


async def test_a_dispatcher_stopped_for_longer_than_its_leases_does_no_harm(world: SinkWorld):
    async with process(world) as stopped:
        endpoint = await world.endpoint()
        await world.add_deliveries(endpoint)
        await world.sink.wait_for(1, START_TIMEOUT_SECONDS)
        world.sink.answer = _after(0.2)
        await world.add_deliveries(endpoint, 20)
        await world.sink.wait_for(1 + MAX_POSTS)
        stopped.send_signal(signal.SIGSTOP)
        try:
            async with process(world):
                await eventually(lambda: _all_delivered(world, 21), within=START_TIMEOUT_SECONDS)
        finally:
            stopped.send_signal(signal.SIGCONT)

    counts = counted(world.sink)
    assert len(counts) == 21
    assert sum(counts.values()) - len(counts) <= MAX_POSTS


async def test_leases_of_a_killed_dispatcher_are_released_long_before_they_expire(world: SinkWorld):
    held = asyncio.Event()

    async def hold(_: Received) -> int:
        await held.wait()
        return 200

    world.sink.answer = hold
    endpoint = await world.endpoint()
    async with process(world, timeout=60) as first:
        await eventually(lambda: _present(world, 1), within=START_TIMEOUT_SECONDS)
        delivery_ids = await world.add_deliveries(endpoint, MAX_UNPROVEN_POSTS)
        await world.sink.wait_for(MAX_UNPROVEN_POSTS, START_TIMEOUT_SECONDS)
        first.send_signal(signal.SIGKILL)
        await first.wait()
    held.set()
    async with world.dispatcher(webhook_timeout=60):
        await eventually(lambda: _all_delivered(world, MAX_UNPROVEN_POSTS), within=START_TIMEOUT_SECONDS)

    assert counted(world.sink) == {webhook_id(id_): 2 for id_ in delivery_ids}


async def test_a_dispatcher_that_lost_the_database_for_a_moment_keeps_its_leases(
    world: SinkWorld, tmp_path: Path
):
    """Its presence ends with its connection, and is shown again in time."""
    held = asyncio.Event()

    async def hold(_: Received) -> int:
        await held.wait()
        return 200

    world.sink.answer = hold
    patient = replace(FAST, absence_limit=5.0)
    endpoint = await world.endpoint()
    direct, proxy = world.database_url, DbProxy(world.database_url, tmp_path)
    await proxy.open()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(world.dispatcher(timings=patient, webhook_timeout=30))
        await eventually(lambda: _present(world, 1))
        world.database_url = proxy.url
        counts = await stack.enter_async_context(world.dispatcher(timings=patient, webhook_timeout=30))
        await eventually(lambda: _present(world, 2))
        await world.add_deliveries(endpoint, MAX_UNPROVEN_POSTS)
        await world.sink.wait_for(MAX_UNPROVEN_POSTS)
        mine = counts.lanes.in_flight
        await proxy.close()
        await eventually(lambda: _present(world, 1))
        await proxy.open()
        await eventually(lambda: _present(world, 2))
        assert await world.in_state("sending") == MAX_UNPROVEN_POSTS
        held.set()
        await eventually(lambda: _all_delivered(world, MAX_UNPROVEN_POSTS))
        world.database_url = direct
    await proxy.close()

    assert mine <= MAX_UNPROVEN_POSTS == world.sink.count


async def test_five_sigterms_in_a_row_lose_nothing(world: SinkWorld):
    """The second signal ends the process at once, at any point."""
    world.sink.answer = _after(0.05)
    endpoint = await world.endpoint()
    async with process(world, "-m", "superimap", "dispatcher") as dispatcher:
        await world.add_deliveries(endpoint, 40)
        await world.sink.wait_for(8, START_TIMEOUT_SECONDS)
        for _ in range(5):
            with contextlib.suppress(ProcessLookupError):
                dispatcher.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.01)
        await dispatcher.wait()
        assert world.sink.count < 40
    async with world.dispatcher():
        await eventually(lambda: _all_delivered(world, 40), within=START_TIMEOUT_SECONDS)

    counts = counted(world.sink)
    assert len(counts) == 40
    assert sum(counts.values()) - len(counts) <= MAX_POSTS


async def test_flushall_loses_nothing_and_sends_nothing_twice(world: SinkWorld):
    endpoint = await world.endpoint()
    async with world.dispatcher(), Redis.from_url(world.redis_url) as redis:
        for _ in range(10):
            await world.add_deliveries(endpoint, 20)
            await redis.flushall()
        await eventually(lambda: _all_delivered(world, 200))

    assert max(counted(world.sink).values()) == 1


async def test_without_redis_deliveries_are_still_sent(world: SinkWorld):
    world.redis_url = "unix:///nonexistent/redis.sock"
    endpoint = await world.endpoint()
    async with world.dispatcher(), EndpointDoorbell(world.redis_url) as doorbell:
        assert not await doorbell.ring(endpoint)
        await world.add_deliveries(endpoint, 50, ring=False)
        await eventually(lambda: _all_delivered(world, 50))

    assert max(counted(world.sink).values()) == 1


async def test_doorbells_ring_again_after_redis_is_killed_and_returns_empty(
    world: SinkWorld, open_folder: Path
):
    endpoint = await world.endpoint()
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(contextlib.AsyncExitStack())
        world.redis_url = await redis.enter_async_context(embedded.valkey(open_folder / "killed"))
        queue = await stack.enter_async_context(EndpointDoorbell(world.redis_url))
        counts = await stack.enter_async_context(world.dispatcher())
        await eventually(lambda: queue.ring(endpoint))
        await redis.aclose()
        await world.add_deliveries(endpoint, 30, ring=False)
        await eventually(lambda: _all_delivered(world, 30))
        assert not await queue.ring(endpoint)

        again = await stack.enter_async_context(embedded.valkey(open_folder / "killed"))
        assert again == world.redis_url
        async with Redis.from_url(again) as client:
            await client.flushall()
        await eventually(lambda: queue.ring(endpoint))
        await world.add_deliveries(endpoint, 30, ring=False)
        await queue.ring(endpoint)
        await eventually(lambda: _all_delivered(world, 60))

    assert counts.attempts.delivered == 60
    assert max(counted(world.sink).values()) == 1


async def test_a_redis_that_hangs_blocks_neither_rings_nor_deliveries(world: SinkWorld):
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    world.redis_url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    endpoint = await world.endpoint()
    async with EndpointDoorbell(world.redis_url) as queue, world.dispatcher():
        started = asyncio.get_running_loop().time()
        assert not await queue.ring(endpoint)
        assert asyncio.get_running_loop().time() - started < 0.5
        await world.add_deliveries(endpoint, 20, ring=False)
        await eventually(lambda: _all_delivered(world, 20))
    server.close()


async def test_an_outage_of_postgresql_before_or_after_the_start_loses_nothing(
    world: SinkWorld, tmp_path: Path
):
    endpoint = await world.endpoint()
    proxy = DbProxy(world.database_url, tmp_path)
    world.database_url = proxy.url
    async with world.dispatcher():
        await world.add_deliveries(endpoint, 20)
        await proxy.open()
        await eventually(lambda: _all_delivered(world, 20))

        await proxy.close()
        await world.add_deliveries(endpoint, 20)
        await proxy.open()
        await eventually(lambda: _all_delivered(world, 40))
    await proxy.close()

    assert len(counted(world.sink)) == 40


async def test_an_answer_that_cannot_be_recorded_is_recorded_later_and_not_sent_again(
    world: SinkWorld, tmp_path: Path
):
    endpoint = await world.endpoint()
    proxy = DbProxy(world.database_url, tmp_path)
    await proxy.open()
    world.database_url = proxy.url

    async def cut(_: Received) -> int:
        await proxy.close()
        return 200

    world.sink.answer = cut
    async with world.dispatcher(webhook_timeout=5) as counts:
        await world.add_deliveries(endpoint)
        await world.sink.wait_for(1)
        assert counts.attempts.delivered == 0
        await proxy.open()
        await eventually(lambda: _all_delivered(world, 1))
    await proxy.close()

    assert world.sink.count == 1


async def test_a_database_that_hangs_while_an_answer_is_recorded_loses_nothing(
    world: SinkWorld, tmp_path: Path
):
    endpoint = await world.endpoint()
    proxy = DbProxy(world.database_url, tmp_path)
    await proxy.open()
    world.database_url = proxy.url

    def hang(_: Received) -> int:
        proxy.hang()
        return 200

    world.sink.answer = hang
    async with world.dispatcher(webhook_timeout=5):
        await world.add_deliveries(endpoint)
        await world.sink.wait_for(1)
        proxy.resume()
        await eventually(lambda: _all_delivered(world, 1))
    await proxy.close()

    assert world.sink.count == 1


async def test_a_rolling_restart_sends_nothing_twice(world: SinkWorld):
    endpoint = await world.endpoint()
    world.sink.answer = _after(0.005)
    await world.add_deliveries(endpoint, 200)
    for _ in range(5):
        seen = world.sink.count
        async with world.dispatcher():
            await world.sink.wait_for(min(seen + 20, 200))
    async with world.dispatcher():
        await eventually(lambda: _all_delivered(world, 200))

    assert max(counted(world.sink).values()) == 1


def _after(seconds: float):
    async def answer(_: Received) -> int:
        await asyncio.sleep(seconds)
        return 200

    return answer


async def _present(world: SinkWorld, count: int) -> bool:
    """Whether this number of dispatchers shows its presence."""
    found = await world.db.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2"
        " AND classid::bigint = $1"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        DISPATCHER_LOCK_SPACE,
    )
    return found == count


async def _all_delivered(world: SinkWorld, count: int) -> bool:
    return await world.in_state("delivered") == count
