"""Circuit breaker over all dispatchers: endpoints that fail, are busy, hang or no longer exist."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Awaitable

import asyncpg
import pytest
from aiohttp import web

from fixtures import bulk
from superimap.core import metrics
from superimap.db.delivery import deliveries, endpoints, sweeping
from superimap.dispatcher.lanes.limits import MAX_UNPROVEN_POSTS
from superimap.domain.deliveries import HEALTHY, EndpointHealth
from superimap.testing import Received
from tests.integration.dispatcher.conftest import FAST, SinkWorld, eventually


async def health(world: SinkWorld, endpoint_id: int) -> EndpointHealth:
    async with world.db.acquire() as db, db.transaction():
        await db.execute("SELECT FROM endpoints WHERE id = $1 FOR NO KEY UPDATE", endpoint_id)
        return (await endpoints.lock_healths(db, [endpoint_id]))[1][endpoint_id]


async def make(world: SinkWorld, endpoint_id: int, **columns: object) -> None:
    async with world.db.acquire() as db, db.transaction():
        await endpoints.set_healths(db, {endpoint_id: EndpointHealth(**columns)})


async def probe_now(world: SinkWorld) -> None:
    await world.db.execute("UPDATE endpoints SET probe_at = now() WHERE breaker = 'open'")


async def attempts(world: SinkWorld) -> int:
    return await world.db.fetchval("SELECT count(*) FROM attempts")


async def test_a_failing_endpoint_gets_no_posts_and_waiting_deliveries_use_no_attempts(
    world: SinkWorld,
):
    world.sink.answer = 500
    endpoint = await world.endpoint()
    async with world.dispatcher() as one, world.dispatcher() as other:
        await world.add_deliveries(endpoint, 100)
        await eventually(lambda: _is(world, endpoint, "open"))
        await eventually(lambda: _equal(one.lanes.in_flight + other.lanes.in_flight, 0))
        before = world.sink.count
        await world.db.execute("UPDATE endpoints SET probe_at = now() + interval '1 hour'")
        for _ in range(20):  # doorbells cause no probe
            await world.add_deliveries(endpoint, 1)
        assert world.sink.count == before

    found = await health(world, endpoint)
    assert 10 <= before <= 20  # two rounds at most: POSTs in flight when the tenth failed
    assert found.setbacks == 1
    assert found.failing_since is not None
    assert await world.db.fetchval("SELECT count(*) FROM deliveries WHERE attempts = 0") == 120 - before
    assert await attempts(world) == before


async def test_a_locked_endpoint_does_not_hold_up_others_and_its_breaker_is_updated_later(
    world: SinkWorld,
):
    world.sink.on("/bad", 500)
    bad, good = await world.endpoint("/bad"), await world.endpoint("/good", kind="user_connected")
    async with world.dispatcher() as counts:
        async with world.db.acquire() as db, db.transaction():
            await db.execute("SELECT FROM endpoints WHERE id = $1 FOR NO KEY UPDATE", bad)
            await world.add_deliveries(bad, 1)
            await eventually(lambda: attempts(world))
            await world.add_deliveries(good, 5)
            await eventually(lambda: _equal(counts.attempts.delivered, 5))
            await db.execute("SAVEPOINT held")  # the lock was held all the time
        await eventually(lambda: _failed(world, bad, 1))


async def test_a_lane_claims_no_more_until_the_breaker_has_judged_its_answers(world: SinkWorld):
    world.sink.on("/busy", 429)
    busy, good = await world.endpoint("/busy"), await world.endpoint("/good", kind="user_connected")
    async with world.dispatcher() as counts:
        async with world.db.acquire() as db, db.transaction():
            await db.execute("SELECT FROM endpoints WHERE id = $1 FOR NO KEY UPDATE", busy)
            await world.add_deliveries(busy, 50)
            await eventually(lambda: _attempted(world, MAX_UNPROVEN_POSTS))
            await world.queue.ring(busy)
            await world.add_deliveries(good, 5)
            await eventually(lambda: _equal(counts.attempts.delivered, 5))
            assert len(world.sink.to("/busy")) == MAX_UNPROVEN_POSTS
        await eventually(lambda: _is(world, busy, "slow_start"))
        await eventually(lambda: _equal(counts.lanes.in_flight, 0))

    assert len(world.sink.to("/busy")) == MAX_UNPROVEN_POSTS


async def test_one_probe_at_a_time_over_all_dispatchers(world: SinkWorld):
    """A lock holds two claims at the point where both have read the endpoint and none has reserved the probe."""
    endpoint = await world.endpoint()
    await world.add_deliveries(endpoint, 20, ring=False)
    await make(world, endpoint, breaker="open", setbacks=1, failures=10)
    async with world.db.acquire() as db, db.transaction():
        await db.execute("SELECT FROM endpoints FOR UPDATE")
        claims = [
            asyncio.create_task(
                deliveries.claim(world.db, endpoint, limit=10, max_posts=10, lease=60, token=uuid.uuid4())
            )
            for _ in range(2)
        ]
        await eventually(lambda: _waiting(world, 2))

    assert sorted([len((await one).taken) for one in claims]) == [0, 1]


async def test_a_probe_lost_with_its_dispatcher_is_repeated_after_its_lease(world: SinkWorld):
    endpoint = await world.endpoint()
    await world.add_deliveries(endpoint, 2, ring=False)
    await make(world, endpoint, breaker="open", setbacks=1, failures=10)

    async def claim(lease: float) -> int:
        claims = await deliveries.claim(
            world.db, endpoint, limit=10, max_posts=10, lease=lease, token=uuid.uuid4()
        )
        return len(claims.taken)

    assert [await claim(0.2), await claim(0.2)] == [1, 0]
    assert await sweeping.overdue_endpoints(world.db, per_partner=9, unhealthy=9) == []
    await eventually(lambda: sweeping.overdue_endpoints(world.db, per_partner=9, unhealthy=9))
    assert await claim(0.2) == 1


async def test_a_recovered_endpoint_gets_posts_slowly_at_first_and_everything_arrives(world: SinkWorld):
    world.sink.answer = 500
    endpoint = await world.endpoint()
    async with world.dispatcher(posts_per_endpoint=4), world.dispatcher(posts_per_endpoint=4):
        await world.add_deliveries(endpoint, 60)
        await eventually(lambda: _is(world, endpoint, "open"))
        order: list[int] = []

        async def count(_: Received) -> int:
            order.append(world.sink._at_once)
            await asyncio.sleep(0.005)
            return 200

        world.sink.answer = count
        await probe_now(world)
        await world.db.execute("UPDATE deliveries SET due_at = now() WHERE state = 'pending'")
        await eventually(lambda: _count_is(world, "delivered", 60))

    assert order[0] == 1
    assert await health(world, endpoint) == HEALTHY


async def test_an_endpoint_that_hangs_is_probed_by_one_post_and_others_are_unaffected(world: SinkWorld):
    async def hang(_: Received) -> int:
        await asyncio.Event().wait()
        return 200

    world.sink.on("/hangs", hang)
    hangs, good = await world.endpoint("/hangs", kind="user_connected"), await world.endpoint("/good")
    async with world.dispatcher(webhook_timeout=0.3):
        await world.add_deliveries(hangs, 100)
        await eventually(lambda: _is(world, hangs, "open"))
        before = len(world.sink.to("/hangs"))
        await probe_now(world)
        await eventually(lambda: _equal(len(world.sink.to("/hangs")), before + 1))
        await eventually(lambda: _setbacks_are(world, hangs, 2))
        await world.add_deliveries(good, 50)
        await eventually(lambda: _count_is(world, "delivered", 50))

    assert len(world.sink.to("/hangs")) == before + 1


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_endpoint_gets_fewer_posts_after_the_pause_it_asked_for(world: SinkWorld, status: int):
    world.sink.answer = lambda _: web.Response(status=status, headers={"Retry-After": "120"})
    endpoint = await world.endpoint()
    async with world.dispatcher():
        await world.add_deliveries(endpoint, 50)
        await eventually(lambda: _is(world, endpoint, "slow_start"))
        await eventually(lambda: _equal(world.sink.count, MAX_UNPROVEN_POSTS))
        await eventually(lambda: _attempted(world, MAX_UNPROVEN_POSTS))

    found = await health(world, endpoint)
    assert (found.width, found.setbacks) == (5, 1)
    rests = await world.db.fetchval("SELECT extract(epoch FROM probe_at - now())::float8 FROM endpoints")
    assert 110 < rests <= 120
    waits = await world.db.fetch(
        "SELECT extract(epoch FROM due_at - now())::float8 FROM deliveries WHERE attempts = 1"
    )
    assert len(waits) == MAX_UNPROVEN_POSTS
    assert all(110 < row[0] <= 120 for row in waits)


async def test_abuse_62_a_410_disables_only_this_endpoint_and_its_deliveries_stay_pending(
    world: SinkWorld,
):
    world.sink.on("/gone", 410)
    gone, other = await world.endpoint("/gone", kind="user_connected"), await world.endpoint("/other")
    async with world.dispatcher() as counts:
        await world.add_deliveries(gone, 30)
        await eventually(lambda: _disabled(world, gone))
        await eventually(lambda: _equal(counts.lanes.in_flight, 0))
        seen = len(world.sink.to("/gone"))
        await world.add_deliveries(gone, 5)
        await world.add_deliveries(other, 5)
        await eventually(lambda: _count_is(world, "delivered", 5))

        assert seen <= MAX_UNPROVEN_POSTS == len(world.sink.to("/gone"))
        assert (await health(world, gone)).disabled_reason == "gone"
        assert await world.in_state("pending") == 35
        assert await health(world, other) == HEALTHY

        world.sink.on("/gone", 200)
        await make(world, gone)  # enabled: all its columns as those of a new one
        await eventually(lambda: _count_is(world, "delivered", 40))


async def test_an_endpoint_that_failed_for_five_days_is_disabled(world: SinkWorld):
    world.sink.answer = 500
    endpoint = await world.endpoint()
    since = await world.db.fetchval("SELECT now() - interval '5 days'")
    await make(world, endpoint, breaker="open", setbacks=99, failures=500, failing_since=since)
    async with world.dispatcher():
        await world.add_deliveries(endpoint, 3)
        await eventually(lambda: _disabled(world, endpoint))

    found = await health(world, endpoint)
    assert (found.disabled_reason, found.failing_since) == ("failing", since)
    assert await world.in_state("pending") == 3
    assert world.sink.count == 1


async def test_deliveries_of_a_disabled_endpoint_fail_when_their_retention_ends(world: SinkWorld):
    endpoint = await world.endpoint()
    [delivery_id] = await world.add_deliveries(endpoint, ring=False)
    long_ago = await world.db.fetchval("SELECT now() - interval '31 days'")
    await make(world, endpoint, disabled_at=long_ago, disabled_reason="gone")

    assert await sweeping.fail_disabled(world.db, days=32) == 0
    async with world.dispatcher():
        await eventually(lambda: _count_is(world, "failed", 1))

    row = await world.row(delivery_id)
    assert (row["last_error"], row["content"] is not None) == ("endpoint_disabled", True)


async def test_with_no_retention_of_content_deliveries_wait_for_a_disabled_endpoint(world: SinkWorld):
    endpoint = await world.endpoint()
    world.sink.answer = 410
    often = dataclasses.replace(FAST, purge_interval=0.0)

    async with world.dispatcher(timings=often, content_retention_days=0):
        await world.add_deliveries(endpoint)
        await eventually(lambda: _disabled(world, endpoint))
        await world.add_deliveries(endpoint, 2)
        swept = metrics.SWEEPS._value.get()

        async def has_purged() -> bool:
            return metrics.SWEEPS._value.get() > swept + 2

        await eventually(has_purged)
        kept = await world.db.fetchval("SELECT count(content) FROM deliveries WHERE state = 'pending'")
        world.sink.answer = 200
        await make(world, endpoint, **dataclasses.asdict(HEALTHY))
        await eventually(lambda: _count_is(world, "delivered", 3))

    assert kept == 3


async def test_errors_on_our_side_do_not_count_against_the_endpoint(world: SinkWorld):
    endpoint = await world.endpoint()
    await world.db.execute("DELETE FROM api_keys")
    async with world.dispatcher():
        await world.add_deliveries(endpoint, 20)
        await eventually(lambda: _attempted(world, 20))

    assert await health(world, endpoint) == HEALTHY


async def test_a_healthy_endpoint_is_never_written(world: SinkWorld):
    endpoint = await world.endpoint()
    before = await world.db.fetchval("SELECT xmin::text || ctid::text FROM endpoints")
    async with world.dispatcher():
        await world.add_deliveries(endpoint, 50)
        await eventually(lambda: _count_is(world, "delivered", 50))

    assert await world.db.fetchval("SELECT xmin::text || ctid::text FROM endpoints") == before


async def test_abuse_60_a_partner_has_a_fifth_of_the_slots_however_many_of_its_endpoints_hang(
    world: SinkWorld,
):
    async def hang(_: Received) -> int:
        await asyncio.Event().wait()
        return 200

    world.sink.on("/hangs", hang)
    await world.db.execute("ALTER TABLE endpoints DROP CONSTRAINT uq_endpoints_partner_id_kind")
    many = await world.db.fetch(
        "INSERT INTO endpoints (partner_id, kind, url) SELECT $1, 'new_mail', $2 FROM generate_series(1, 200)"
        " RETURNING id",
        world.partner_id,
        world.sink.url("/hangs"),
    )
    for row in many:
        await world.add_deliveries(row["id"], 3, ring=False)
    other = await _other_partner(world)
    async with world.dispatcher(max_lanes=20, posts_per_endpoint=2, webhook_timeout=20) as counts:
        await world.sink.wait_for(lambda _: len(world.sink.to("/hangs")) == 8)
        for _ in range(20):
            [delivery_id] = await _owe_other(world, *other)
            await eventually(lambda delivery_id=delivery_id: _is_delivered(world, delivery_id))
        assert len(world.sink.to("/hangs")) == 8  # a fifth of 20 slots, two POSTs each
        assert counts.lanes.in_flight == 8
        assert counts.lanes.lanes <= 5


async def test_endpoints_that_hang_leave_the_lanes_to_those_that_answer(world: SinkWorld):
    """There are many more partners than lanes. New endpoints hang first, then a quarter of the slots hangs."""

    async def hang(_: Received) -> int:
        await asyncio.Event().wait()
        return 200

    async def answers_at_once(good: int) -> None:
        for _ in range(10):
            [delivery_id] = await world.add_deliveries(good, 1)
            await eventually(lambda delivery_id=delivery_id: _has_come(world, delivery_id), within=3.0)

    world.sink.answer = hang
    world.sink.on("/good", 200)
    good = await world.endpoint("/good")
    many = await bulk.add_targets(world.db, world.vault, [world.sink.url("/")] * 40)
    for each in many:
        await bulk.add_due_deliveries(world.db, world.vault, each, 4)
    async with world.dispatcher(max_lanes=8, posts_per_endpoint=12, webhook_timeout=1):
        for each in many:
            await world.queue.ring(each.endpoint)
        await world.sink.wait_for(8 * MAX_UNPROVEN_POSTS)
        await answers_at_once(good)

        unhealthy = "SELECT count(*) = 40 FROM endpoints WHERE failures > 1"
        await eventually(lambda: world.db.fetchval(unhealthy))
        await eventually(lambda: _equal_or_less(_hanging_now(world, good), 2))
        await world.db.execute("UPDATE deliveries SET due_at = now() WHERE state = 'pending'")
        for _ in range(3):
            await answers_at_once(good)
            assert await _hanging_now(world, good) <= 2


async def _equal_or_less(counting: Awaitable[int], most: int) -> bool:
    return await counting <= most


async def _hanging_now(world: SinkWorld, good: int) -> int:
    return await world.db.fetchval(
        "SELECT count(DISTINCT endpoint_id) FROM delivery_leases WHERE endpoint_id <> $1",
        good,
    )


async def _has_come(world: SinkWorld, delivery_ids: uuid.UUID) -> bool:
    return (await world.row(delivery_ids))["state"] == "delivered"


async def _other_partner(world: SinkWorld) -> tuple[int, int, int]:
    """Create another partner with one healthy endpoint; returns the ids of partner, endpoint and user."""
    partner: asyncpg.Record = await world.db.fetchrow(
        """
        WITH p AS (INSERT INTO partners (name) VALUES ('other') RETURNING id),
        e AS (INSERT INTO endpoints (partner_id, kind, url) SELECT id, 'new_mail', $1 FROM p RETURNING id),
        c AS (INSERT INTO connections (partner_id, provider_id)
              SELECT p.id, o.provider_id FROM p, connections o RETURNING id),
        u AS (INSERT INTO users (partner_id, connection_id, tag) SELECT p.id, c.id, 'bob' FROM p, c RETURNING id)
        SELECT p.id AS partner, e.id AS endpoint, u.id AS user FROM p, e, u
        """,
        world.sink.url("/good"),
    )
    return partner["partner"], partner["endpoint"], partner["user"]


async def _owe_other(world: SinkWorld, partner: int, endpoint: int, user: int) -> list[uuid.UUID]:
    """Insert one delivery without content: the test only needs to see that it is attempted."""
    id_ = uuid.uuid4()
    await world.db.execute(
        "INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind) VALUES ($1, $2, $3, $4, 'new_mail')",
        id_, partner, endpoint, user,
    )  # fmt: skip
    await world.queue.ring(endpoint)
    return [id_]


async def _is_delivered(world: SinkWorld, id_: uuid.UUID) -> bool:
    """Delivered or attempted: the other partner has no key."""
    return (await world.row(id_))["last_error"] is not None


async def _waiting(world: SinkWorld, count: int) -> bool:
    """Whether this number of claims waits for a lock."""
    found = await world.db.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%probe AS%'"
        " AND datname = current_database()"
    )
    return found == count


async def _is(world: SinkWorld, endpoint_id: int, breaker: str) -> bool:
    return (await health(world, endpoint_id)).breaker == breaker


async def _setbacks_are(world: SinkWorld, endpoint_id: int, count: int) -> bool:
    return (await health(world, endpoint_id)).setbacks == count


async def _disabled(world: SinkWorld, endpoint_id: int) -> bool:
    return (await health(world, endpoint_id)).disabled_at is not None


async def _attempted(world: SinkWorld, count: int) -> bool:
    return await attempts(world) == count


async def _equal(one: object, other: object) -> bool:
    return one == other


async def _count_is(world: SinkWorld, state: str, count: int) -> bool:
    return await world.in_state(state) == count


async def _failed(world: SinkWorld, endpoint_id: int, times: int) -> bool:
    return (await world.db.fetchval("SELECT failures FROM endpoints WHERE id = $1", endpoint_id)) == times
