"""The sweeper finds deliveries without a doorbell, purges old rows, and runs in one process at a time."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import uuid
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta

import asyncpg
import pytest

from superimap.core import metrics
from superimap.core.health import Readiness
from superimap.db.delivery import deliveries, liveness, shard_survey, sweeping
from superimap.db.monitoring import cluster_status
from superimap.db.privileges import Role
from superimap.dispatcher.sweeper import SWEEPER_LOCK_KEY
from superimap.testing import Received
from superimap.webhooks.signing import webhook_id
from tests.integration.dispatcher.conftest import FAST, SinkWorld, eventually


async def test_an_expired_lease_is_released_and_a_valid_one_is_not(world: SinkWorld):
    endpoint = await world.endpoint()
    dead, alive = await world.add_deliveries(endpoint, 2, ring=False)
    await deliveries.claim(world.db, endpoint, limit=2, max_posts=9, lease=60, token=uuid.uuid4())
    await world.db.execute("UPDATE delivery_leases SET lease_until = now() WHERE delivery_id = $1", dead)

    assert await sweeping.release_expired(world.db) == 1
    assert await sweeping.release_expired(world.db) == 0

    assert set(await world.leases()) == {alive}


async def test_an_endpoint_is_overdue_only_with_a_delivery_that_nobody_sends(world: SinkWorld):
    endpoint = await world.endpoint()
    await world.add_deliveries(endpoint, 2, ring=False)
    for expected in ([endpoint], [endpoint], []):
        assert await to_ring(world, per_partner=9) == expected
        await deliveries.claim(world.db, endpoint, limit=1, max_posts=9, lease=60, token=uuid.uuid4())

    await world.db.execute("UPDATE delivery_leases SET lease_until = now()")
    assert await to_ring(world, per_partner=9) == [endpoint]


async def test_endpoints_rung_at_a_time_are_limited_per_partner_and_vary(world: SinkWorld):
    for kind in ("new_mail", "user_connected", "user_disconnected"):
        await world.add_deliveries(await world.endpoint(kind=kind), ring=False)

    rung = [await to_ring(world, per_partner=1) for _ in range(50)]

    assert {len(one) for one in rung} == {1}
    assert len({one[0] for one in rung}) == 3


async def test_unhealthy_endpoints_rung_at_a_time_are_limited_and_all_are_reported(world: SinkWorld):
    kinds = ("new_mail", "user_connected", "user_disconnected")
    healthy, *unhealthy = [await world.endpoint(kind=kind) for kind in kinds]
    for endpoint in (healthy, *unhealthy):
        await world.add_deliveries(endpoint, ring=False)
    await world.db.execute("UPDATE endpoints SET failures = 2 WHERE id = ANY($1)", unhealthy)

    rung = [await to_ring(world, per_partner=9, unhealthy=1) for _ in range(50)]

    assert {len(one) for one in rung} == {2}
    assert all(healthy in one for one in rung)
    assert {endpoint for one in rung for endpoint in one} == {healthy, *unhealthy}
    assert len(await sweeping.overdue_endpoints(world.db, per_partner=9, unhealthy=1)) == 3


async def test_an_unhealthy_endpoint_with_two_posts_in_flight_is_reported_and_not_rung(
    world: SinkWorld,
):
    endpoint = await world.endpoint()
    await world.add_deliveries(endpoint, 3, ring=False)
    await world.db.execute("UPDATE endpoints SET failures = 2")
    for expected in ([endpoint], []):
        await deliveries.claim(
            world.db, endpoint, limit=1, max_posts=9, lease=60, token=uuid.uuid4(), include_unhealthy=True
        )
        assert await to_ring(world, per_partner=9) == expected

    [overdue] = await sweeping.overdue_endpoints(world.db, per_partner=9, unhealthy=9)
    assert overdue.endpoint_id == endpoint


async def test_healthy_endpoints_with_posts_in_flight_rung_at_a_time_are_limited(world: SinkWorld):
    kinds = ("new_mail", "user_connected", "user_disconnected")
    healthy, *busy = [await world.endpoint(kind=kind) for kind in kinds]
    for endpoint in (healthy, *busy):
        await world.add_deliveries(endpoint, 3, ring=False)
    for endpoint in busy:
        await deliveries.claim(world.db, endpoint, limit=2, max_posts=9, lease=60, token=uuid.uuid4())

    rung = [await to_ring(world, per_partner=9, unhealthy=1) for _ in range(50)]

    assert {len(one) for one in rung} == {2}
    assert all(healthy in one for one in rung)
    assert {endpoint for one in rung for endpoint in one} == {healthy, *busy}


async def test_a_delivery_without_a_doorbell_does_not_wait_for_two_endpoints_that_hang(
    world: SinkWorld,
):
    never = asyncio.Event()
    hanging: set[str] = set()

    async def answer(received: Received) -> int:
        if received.headers["webhook-id"] in hanging:
            await never.wait()
        return 200

    world.sink.answer = answer
    endpoint = await world.endpoint()
    async with world.dispatcher(webhook_timeout=60):
        for _ in range(2):  # it answers, and that is known
            [known] = await world.add_deliveries(endpoint)
            await eventually(lambda known=known: _is_delivered(world, known))
        hanging |= {webhook_id(id_) for id_ in await world.add_deliveries(endpoint, 2, ring=False)}
        await world.queue.ring(endpoint)
        await world.sink.wait_for(4)
        [unrung] = await world.add_deliveries(endpoint, ring=False)

        await eventually(lambda: _is_delivered(world, unrung))
        never.set()


async def _is_delivered(world: SinkWorld, id_: uuid.UUID) -> bool:
    return (await world.row(id_))["state"] == "delivered"


async def to_ring(world: SinkWorld, *, per_partner: int, unhealthy: int = 9) -> list[int]:
    overdue = await sweeping.overdue_endpoints(world.db, per_partner=per_partner, unhealthy=unhealthy)
    return [each.endpoint_id for each in overdue if each.is_to_ring]


async def test_each_overdue_endpoint_is_listed_once_with_its_longest_delay(world: SinkWorld):
    endpoints = [
        await world.endpoint(kind=kind) for kind in ("new_mail", "user_connected", "user_disconnected")
    ]
    for endpoint in endpoints:
        await world.add_deliveries(endpoint, 5, ring=False)
    await world.db.execute("UPDATE deliveries SET due_at = now() - interval '7 s'")
    await world.db.execute(
        "UPDATE deliveries SET due_at = now() + interval '1 h' WHERE endpoint_id = $1", endpoints[1]
    )

    late = await sweeping.overdue_endpoints(world.db, per_partner=9, unhealthy=9)

    assert [each.endpoint_id for each in late] == [endpoints[0], endpoints[2]]
    assert all(6.9 < each.late < 10 for each in late)


async def test_one_process_at_a_time_sweeps_and_another_takes_over(world: SinkWorld):
    async with world.dispatcher(), contextlib.AsyncExitStack() as other:
        await other.enter_async_context(world.dispatcher())
        await eventually(lambda: _holders(world))
        holder = await _holders(world)
        assert len(holder) == 1

        await world.db.execute("SELECT pg_terminate_backend($1)", holder[0])
        await eventually(lambda: _another(world, holder[0]))
        await world.add_deliveries(await world.endpoint(), ring=False)
        await world.sink.wait_for(1)


async def test_old_content_and_old_rows_are_purged_and_others_kept(world: SinkWorld):
    endpoint = await world.endpoint()
    states = [
        ("failed", 20),
        ("failed", 3),
        ("cancelled", 20),
        ("delivered", 100),
        ("delivered", 3),
        ("pending", 200),
    ]
    ids = await world.add_deliveries(endpoint, len(states), ring=False)
    for id_, (state, days) in zip(ids, states, strict=True):
        await world.db.execute(
            "UPDATE deliveries SET state = $2, created_at = now() - make_interval(days => $3),"
            " due_at = now() + interval '1 h',"
            " settled_at = CASE $2 WHEN 'pending' THEN NULL ELSE now() - make_interval(days => $3) END"
            " WHERE id = $1", id_, state, days,
        )  # fmt: skip
    await world.db.execute(
        "INSERT INTO attempts (id, partner_id, delivery_id, number, milliseconds)"
        " VALUES (gen_random_uuid(), $1, $2, 1, 1)",
        world.partner_id, ids[3],
    )  # fmt: skip
    old, recent, undelivered = [await _message(world, days) for days in (100, 3, 200)]
    await world.db.execute("UPDATE deliveries SET message_id = $1 WHERE id = $2", undelivered, ids[5])

    async with world.dispatcher():
        await eventually(lambda: _gone(world, "messages", old))

    kept = [await world.row(id_) for id_ in ids]
    assert [row is not None for row in kept] == [True, True, True, False, True, True]
    assert [row["content"] is not None for row in kept if row] == [False, True, False, True, True]
    assert await world.db.fetchval("SELECT count(*) FROM attempts") == 0
    assert {row["id"] for row in await world.db.fetch("SELECT id FROM messages")} == {recent, undelivered}


async def test_webhooks_wait_for_a_disabled_endpoint_longer_than_failed_content_is_kept(world: SinkWorld):
    waiting = await world.endpoint()
    given_up = await world.endpoint("/events", kind="events")
    for endpoint, days in ((waiting, 3), (given_up, 31)):
        await world.db.execute(
            "UPDATE endpoints SET disabled_at = now() - make_interval(days => $2) WHERE id = $1",
            endpoint, days,
        )  # fmt: skip
    [kept] = await world.add_deliveries(waiting, ring=False)
    [failed] = await world.add_deliveries(given_up, ring=False)

    async with world.dispatcher(content_retention_days=0, disabled_retention_days=30):
        await eventually(lambda: _is_erased(world, failed))
        await _sweeps(3)  # the next purge is in an hour

        row = await world.row(kept)
        assert (row["state"], row["content"] is not None) == ("pending", True)
        assert (await world.row(failed))["state"] == "failed"
        await world.db.execute(
            "UPDATE deliveries SET state = 'cancelled', settled_at = now() WHERE id = $1", kept
        )
        await eventually(lambda: _is_erased(world, kept))


MAINTENANCE = [
    (sweeping, "delete_old_messages"), (liveness, "mark_stalled"), (cluster_status, "read_cluster_status"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), MAINTENANCE, ids=[name for _, name in MAINTENANCE])
async def test_maintenance_that_takes_too_long_is_tried_later_and_sweeping_goes_on(
    world: SinkWorld, monkeypatch, module, name
):
    tries, health = 0, Readiness()

    async def hang(*_: object, **__: object) -> int:
        nonlocal tries
        tries += 1
        raise TimeoutError

    monkeypatch.setattr(module, name, hang)
    timings = dataclasses.replace(FAST, stall_check_delay=0.0)
    async with world.dispatcher(timings=timings, health=health):
        await eventually(lambda: asyncio.sleep(0, tries))
        await _sweeps(3)
        await eventually(lambda: asyncio.sleep(0, not health.faults))

        assert tries == 1


HOUSEKEEPING = [
    *MAINTENANCE, (shard_survey, "survey_shards"), (shard_survey, "merge_sums"), (sweeping, "fail_disabled"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), HOUSEKEEPING, ids=[name for _, name in HOUSEKEEPING])
async def test_housekeeping_delays_neither_sweeps_nor_a_stop(world: SinkWorld, monkeypatch, module, name):
    begun = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(module, name, hang)
    async with world.dispatcher(timings=dataclasses.replace(FAST, stall_check_delay=0.0)):
        await begun.wait()
        await _sweeps(3)
        await world.add_deliveries(await world.endpoint(), ring=False)
        await world.sink.wait_for(1)


async def test_rows_of_the_sums_are_merged_and_users_of_every_shard_can_stall(world: SinkWorld):
    await world.db.execute("UPDATE users SET connected_at = now() - interval '1 day', status = 'watching'")
    for _ in range(3):
        await world.db.execute("UPDATE users SET credentials_version = credentials_version + 1")
    await world.db.execute(
        "INSERT INTO users (id, partner_id, connection_id, tag, connected_at, status)"
        " SELECT 4096 * 9 + n, partner_id, connection_id, n, now() - interval '1 day', 'watching'"
        " FROM users, unnest('{127, 128, 4094, 4095}'::int[]) n"
    )

    async def is_done() -> bool:
        sums = await world.db.fetchval("SELECT count(*) FROM shard_user_sums")
        stalled = await world.db.fetchval("SELECT count(*) FROM users WHERE status = 'stalled'")
        return (sums, stalled) == (5, 5)

    timings = dataclasses.replace(FAST, stall_check_delay=0.0, merge_interval=0.05)
    async with world.dispatcher(timings=timings, stalled_after=660):
        await eventually(is_done)


async def test_a_purge_that_takes_too_long_prevents_no_other(world: SinkWorld, monkeypatch):
    async def hang(*_: object, **__: object) -> int:
        raise TimeoutError

    monkeypatch.setattr(sweeping, "fail_disabled", hang)
    old = await _message(world, 100)
    async with world.dispatcher():
        await eventually(lambda: _gone(world, "messages", old))


async def _sweeps(count: int) -> None:
    """Wait until this number of sweeps is done."""
    before = metrics.SWEEPS._value.get()
    await eventually(lambda: asyncio.sleep(0, metrics.SWEEPS._value.get() >= before + count))


async def _is_erased(world: SinkWorld, id_: uuid.UUID) -> bool:
    return (await world.row(id_))["content"] is None


async def test_users_without_a_proof_of_life_are_stalled_and_old_events_purged(world: SinkWorld):
    await world.db.execute(
        "UPDATE users SET status = 'watching', connected_at = now() - interval '9 days',"
        " last_proven_alive_at = now() - interval '661 s'"
    )
    await world.db.execute(
        "INSERT INTO user_events (partner_id, user_id, kind, at)"
        " VALUES ($1, $2, 'recovered', now() - interval '91 days')",
        world.partner_id, world.user_id,
    )  # fmt: skip

    async with world.dispatcher(timings=dataclasses.replace(FAST, stall_check_delay=0.0), stalled_after=660):
        await eventually(lambda: _kinds(world, ["stalled"]))

    assert await world.db.fetchval("SELECT status FROM users") == "stalled"


async def test_an_old_event_is_kept_while_its_delivery_is_pending_and_deleted_with_it_later(
    world: SinkWorld,
):
    endpoint = await world.endpoint(kind="events")
    for state in ("pending", "delivered"):
        await world.db.execute(
            "WITH event AS (INSERT INTO user_events (partner_id, user_id, kind, at)"
            " VALUES ($1, $2, 'stalled', now() - interval '91 days') RETURNING id)"
            " INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind, event_id, content, state)"
            " SELECT gen_random_uuid(), $1, $3, $2, 'events', id, '', $4 FROM event",
            world.partner_id, world.user_id, endpoint, state,
        )  # fmt: skip

    assert await liveness.delete_old_events(world.db, days=90) == 1

    rows = await world.db.fetch("SELECT d.state FROM user_events v JOIN deliveries d ON d.event_id = v.id")
    assert [row["state"] for row in rows] == ["pending"]
    assert await world.db.fetchval("SELECT count(*) FROM deliveries") == 1


@pytest.mark.parametrize("is_ended", [True, False])
async def test_vouches_of_an_ended_idler_are_written_to_its_users_and_deleted(world: SinkWorld, is_ended):
    await world.db.execute(
        "INSERT INTO vouches (voucher, turn, since, reported_at, proven)"
        " VALUES (7, 0, now() - interval '660 s', now() - $1::interval, B'01')",
        timedelta(seconds=630 if is_ended else 500),
    )
    await world.db.execute(
        "UPDATE users SET status = 'watching', connected_at = now() - interval '9 days', vouched_by = 7,"
        " vouch_slot = 1, last_proven_alive_at = now() - interval '1 h'"
    )
    vouched = await world.db.fetchval("SELECT since FROM vouches")
    gauge = metrics.CLUSTER_USERS.labels("watched")
    gauge.set(-1)

    async with world.dispatcher(timings=dataclasses.replace(FAST, stall_check_delay=0.0), stalled_after=900):
        if is_ended:
            await eventually(lambda: _is_empty(world, "vouches"))
        else:
            await eventually(lambda: asyncio.sleep(0, gauge._value.get() >= 0))  # a walk is complete

    user = await world.db.fetchrow("SELECT * FROM users")
    assert user["vouched_by"] == (None if is_ended else 7)
    assert (user["last_proven_alive_at"] == vouched) is is_ended
    assert user["status"] == "watching"


async def _is_empty(world: SinkWorld, table: str) -> bool:
    return not await world.db.fetchval(f"SELECT EXISTS (SELECT FROM {table})")


async def test_no_user_is_stalled_before_idlers_had_time_to_write_their_proofs(world: SinkWorld):
    """After an outage of the database, every stored proof of life is old."""
    await world.db.execute(
        "UPDATE users SET status = 'watching', connected_at = now() - interval '9 days',"
        " last_proven_alive_at = now() - interval '9 days'"
    )
    async with world.dispatcher(
        timings=dataclasses.replace(FAST, stall_check_delay=600.0), stalled_after=660
    ):
        await world.add_deliveries(await world.endpoint(), ring=False)
        await world.sink.wait_for(1)  # the sweeper has swept

    assert await _kinds(world, [])


async def _kinds(world: SinkWorld, kinds: list[str]) -> bool:
    return [row["kind"] for row in await world.db.fetch("SELECT kind FROM user_events ORDER BY id")] == kinds


async def test_a_purge_works_in_batches(world: SinkWorld):
    await world.add_deliveries(await world.endpoint(), 7, ring=False)
    await world.db.execute("UPDATE deliveries SET state = 'failed', settled_at = now() - interval '99 days'")

    assert [await sweeping.erase_old_content(world.db, days=14, limit=5) for _ in range(3)] == [5, 2, 0]
    assert [await sweeping.delete_old_deliveries(world.db, days=90, limit=5) for _ in range(3)] == [5, 2, 0]


async def test_messages_are_purged_past_those_that_are_kept(world: SinkWorld):
    ids = [await _message(world, days) for days in (200, 190, 180, 170, 160, 3)]
    await world.db.execute("UPDATE messages SET outcome = 'deferred' WHERE id = ANY($1)", ids[:2])
    [pending] = await world.add_deliveries(await world.endpoint(), ring=False)
    await world.db.execute("UPDATE deliveries SET message_id = $1 WHERE id = $2", ids[3], pending)

    first = await sweeping.delete_old_messages(world.db, days=90, limit=2)
    second = await sweeping.delete_old_messages(world.db, days=90, limit=2, after=ids[1])
    third = await sweeping.delete_old_messages(world.db, days=90, limit=2, after=ids[3])
    last = await sweeping.delete_old_messages(world.db, days=90, limit=2, after=ids[4])

    assert [first, second, third, last] == [(0, ids[1]), (1, ids[3]), (1, ids[4]), (0, None)]
    assert [row["id"] for row in await world.db.fetch("SELECT id FROM messages ORDER BY id")] == [
        *ids[:2], ids[3], ids[5]
    ]  # fmt: skip


async def test_a_purge_of_messages_continues_past_a_batch_that_is_kept(world: SinkWorld, monkeypatch):
    monkeypatch.setattr(sweeping.delete_old_messages, "__kwdefaults__", {"after": 0, "limit": 1})
    kept, old = await _message(world, 200), await _message(world, 100)
    await world.db.execute("UPDATE messages SET outcome = 'deferred' WHERE id = $1", kept)

    async with world.dispatcher():
        await eventually(lambda: _gone(world, "messages", old))

    assert [row["id"] for row in await world.db.fetch("SELECT id FROM messages")] == [kept]


async def _message(world: SinkWorld, days: int) -> int:
    mailbox = await world.db.fetchval(
        "INSERT INTO mailboxes (partner_id, user_id, account, name) VALUES ($1, $2, '', $3) RETURNING id",
        world.partner_id, world.user_id, f"folder {days}",
    )  # fmt: skip
    return await world.db.fetchval(
        "INSERT INTO messages (partner_id, user_id, mailbox_id, uid_validity, uid, size, outcome, created_at)"
        " VALUES ($1, $2, $3, 1, 1, 1, 'delivered', now() - make_interval(days => $4)) RETURNING id",
        world.partner_id, world.user_id, mailbox, days,
    )  # fmt: skip


async def _gone(world: SinkWorld, table: str, id_: object) -> bool:
    return not await world.db.fetchval(f"SELECT count(*) FROM {table} WHERE id = $1", id_)


async def _holders(world: SinkWorld) -> list[int]:
    rows: list[asyncpg.Record] = await world.db.fetch(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND (classid::bigint << 32 | objid::bigint) = $1"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        SWEEPER_LOCK_KEY,
    )
    return [row["pid"] for row in rows]


async def _another(world: SinkWorld, former: int) -> bool:
    return bool(holders := await _holders(world)) and holders != [former]


@contextlib.asynccontextmanager
async def stopped_sweeper(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection with the lock of a process that stopped between the messages of one statement."""
    db = await asyncpg.connect(url)
    assert await db.fetchval("SELECT pg_try_advisory_lock($1)", SWEEPER_LOCK_KEY)
    parse = b"\0SELECT 1\0\0\0"
    db._transport.write(b"P" + (len(parse) + 4).to_bytes(4) + parse + b"H\0\0\0\4")  # Parse, Flush, no Sync
    try:
        yield db
    finally:
        db.terminate()


async def test_another_dispatcher_sweeps_instead_of_one_that_stopped_within_a_statement(world: SinkWorld):
    """PostgreSQL's timeouts are for sessions that are idle; this one never is."""
    endpoint = await world.endpoint()
    await world.add_deliveries(endpoint, ring=False)
    async with (
        stopped_sweeper(world.database_url) as stopped,
        world.dispatcher(database_url=world.database_url),
    ):
        await world.sink.wait_for(1)
        assert stopped.is_closed()


async def test_a_sweeper_that_works_keeps_its_connection(world: SinkWorld):
    holder = await asyncpg.connect(world.database_url)
    assert await holder.fetchval("SELECT pg_try_advisory_lock($1)", SWEEPER_LOCK_KEY)
    working = asyncio.create_task(holder.execute("SELECT pg_sleep(600)"))
    activity = "SELECT wait_event FROM pg_stat_activity WHERE pid = $1"
    await eventually(lambda: _is(world.db.fetchval(activity, holder.get_server_pid()), "PgSleep"))

    assert not await sweeping.end_silent_holder(world.db, key=SWEEPER_LOCK_KEY, after=0.0)
    assert not working.done()
    working.cancel()
    holder.terminate()


async def test_a_dispatcher_ends_connections_of_its_own_user_only(world: SinkWorld, postgres_url: str):
    name = f"login_{uuid.uuid4().hex[:8]}"
    await world.db.execute(f"CREATE ROLE {name} LOGIN IN ROLE {Role.DISPATCHER}")
    own = world.database_url.replace("superimap@", f"{name}@")
    assert own != world.database_url
    try:
        look = await asyncpg.connect(own)
        async with stopped_sweeper(world.database_url):
            assert not await sweeping.end_silent_holder(look, key=SWEEPER_LOCK_KEY, after=0.0)
        async with stopped_sweeper(own) as stopped:
            await eventually(lambda: sweeping.end_silent_holder(look, key=SWEEPER_LOCK_KEY, after=0.0))
            await eventually(lambda: asyncio.sleep(0, stopped.is_closed()))
        await look.close()
    finally:
        await world.db.execute(f"DROP ROLE {name}")


async def _is(value: Awaitable[object], expected: object) -> bool:
    return await value == expected
