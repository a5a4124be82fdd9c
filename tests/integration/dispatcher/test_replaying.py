"""Replays: a replayed webhook is sent like a new one, under its old id."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid

import pytest

from superimap.db.delivery import deliveries, replay
from superimap.db.engine import sessions
from superimap.db.monitoring import history
from superimap.db.monitoring.history import DeliveryFilter
from superimap.domain.answers import RETRY_SCHEDULE_SECONDS
from superimap.domain.deliveries import DeliveryState
from superimap.webhooks.signing import webhook_id

from .conftest import FAST, SinkWorld, eventually


async def again(world: SinkWorld, delivery_id) -> None:
    """Replay the delivery, commit, and ring the doorbell."""
    async with sessions(world.database_url) as sessionmaker:
        async with sessionmaker.begin() as db:
            endpoint = await replay.replay_one(db, world.partner_id, delivery_id)
        await world.queue.ring(endpoint)


async def failed(world: SinkWorld, *, attempts: int = 17):
    """Insert a failed delivery with this number of attempts; returns its id."""
    endpoint = await world.endpoint()
    (delivery,) = await world.add_deliveries(endpoint, ring=False)
    used_up = "UPDATE deliveries SET state = 'failed', attempts = $2, settled_at = now() WHERE id = $1"
    await world.db.execute(used_up, delivery, attempts)
    return delivery


async def test_a_replay_is_delivered_under_the_same_webhook_id(world: SinkWorld):
    delivery = await failed(world)

    async with world.dispatcher():
        await again(world, delivery)
        await eventually(lambda: world.in_state("delivered"))

    (came,) = world.sink.received
    assert came.headers["webhook-id"] == webhook_id(delivery)
    row = await world.row(delivery)
    assert (row["attempts"], row["content"]) == (18, None)
    assert [one["number"] for one in await world.attempts(delivery)] == [18]


async def test_a_replay_restarts_the_schedule_and_continues_the_numbering(world: SinkWorld):
    delivery = await failed(world)
    world.sink.answer = 500

    async with world.dispatcher():
        await again(world, delivery)
        await eventually(lambda: world.attempts(delivery))
        await eventually(lambda: world.in_state("pending"))

    row = await world.row(delivery)
    assert (row["state"], row["attempts"], row["attempts_before"]) == ("pending", 18, 17)
    assert RETRY_SCHEDULE_SECONDS[0] - 2 <= row["due_in"] <= RETRY_SCHEDULE_SECONDS[0]


async def test_a_replay_fails_permanently_at_the_end_of_its_own_schedule(world: SinkWorld):
    delivery = await failed(world)
    world.sink.answer = 500
    await world.db.execute("UPDATE deliveries SET attempts = 33 WHERE id = $1", delivery)

    await again(world, delivery)
    await world.db.execute("UPDATE deliveries SET attempts_before = 17 WHERE id = $1", delivery)
    async with world.dispatcher():
        await world.sink.wait_for(1)
        await eventually(lambda: world.in_state("failed"))

    assert (await world.row(delivery))["attempts"] == 34


async def test_a_cancelled_delivery_is_not_sent(world: SinkWorld):
    endpoint = await world.endpoint()
    called_off, kept = await world.add_deliveries(endpoint, 2, ring=False)
    async with sessions(world.database_url) as sessionmaker, sessionmaker.begin() as db:
        await replay.cancel_one(db, world.partner_id, called_off)

    async with world.dispatcher():
        await world.queue.ring(endpoint)
        await eventually(lambda: world.in_state("delivered"))

    assert [came.headers["webhook-id"] for came in world.sink.received] == [webhook_id(kept)]
    assert await world.in_state("cancelled") == 1


async def test_a_delivery_that_is_claimed_at_the_same_time_is_not_cancelled(world: SinkWorld):
    """The claim is committed while the cancellation waits for the lock of the delivery."""
    endpoint = await world.endpoint()
    (delivery,) = await world.add_deliveries(endpoint, ring=False)
    async with sessions(world.database_url) as sessionmaker, sessionmaker.begin() as api:
        async with world.db.acquire() as db, db.transaction():
            claims = await deliveries.claim(db, endpoint, limit=1, max_posts=9, lease=60, token=uuid.uuid4())
            cancelling = asyncio.create_task(replay.cancel_one(api, world.partner_id, delivery))
            await eventually(lambda: is_waiting(world))

        with pytest.raises(replay.StillPending):
            await cancelling

    assert [claim.id for claim in claims.taken] == [delivery]
    assert await world.in_state("sending") == 1


async def is_waiting(world: SinkWorld) -> bool:
    """Whether a statement waits for a lock of another one."""
    found = await world.db.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    return found > 0


@pytest.mark.parametrize("answer", ["nul\0 and \ud800".encode("utf-8", "surrogatepass"), b"\xff\xfe\x00bad"])
async def test_abuse_64_an_answer_with_invalid_bytes_is_stored_and_shown_as_text(world: SinkWorld, answer):
    from aiohttp import web

    endpoint = await world.endpoint()
    world.sink.answer = lambda _: web.Response(status=500, body=answer)

    async with world.dispatcher():
        (delivery,) = await world.add_deliveries(endpoint)
        await eventually(lambda: world.attempts(delivery))

    async with sessions(world.database_url) as sessionmaker, sessionmaker.begin() as db:
        (shown,) = await history.list_attempts(db, world.vault, world.partner_id, delivery)
        (listed,) = await history.list_deliveries(db, DeliveryFilter(partner_id=world.partner_id), limit=9)
    assert shown.answer == answer.decode("utf-8", "replace").replace("\0", "")
    assert listed.last_code == 500


@pytest.mark.parametrize("code", [403, 500])
async def test_with_no_retention_the_content_of_a_failure_is_erased_as_it_is_recorded(world: SinkWorld, code):
    endpoint = await world.endpoint()
    world.sink.answer = code
    never = dataclasses.replace(FAST, sweep_interval=3600.0)  # so that no purge erases it

    async with world.dispatcher(timings=never, content_retention_days=0):
        (delivery,) = await world.add_deliveries(endpoint, ring=False)
        await world.db.execute("UPDATE deliveries SET attempts = 16 WHERE id = $1", delivery)
        await world.queue.ring(endpoint)
        await eventually(lambda: world.in_state("failed"))

    assert (await world.row(delivery))["content"] is None
    with pytest.raises(replay.ContentErased, match="CONTENT_RETENTION_DAYS"):
        await again(world, delivery)


async def test_with_no_retention_cancelled_content_is_erased_by_the_next_sweep(world: SinkWorld):
    endpoint = await world.endpoint()

    async with world.dispatcher(content_retention_days=0):
        (early,) = await world.add_deliveries(endpoint)
        await eventually(lambda: world.in_state("delivered"))
        (delivery,) = await world.add_deliveries(endpoint, ring=False)
        await world.db.execute(
            "UPDATE deliveries SET state = 'cancelled', settled_at = now(), due_at = now() + interval '1 day'"
            " WHERE id = $1", delivery,
        )  # fmt: skip

        async def is_erased() -> bool:
            return (await world.row(delivery))["content"] is None

        await eventually(is_erased)
    assert early != delivery


async def test_with_retention_the_content_of_a_failure_is_kept_for_a_replay(world: SinkWorld):
    endpoint = await world.endpoint()
    world.sink.answer = 403

    async with world.dispatcher():
        (delivery,) = await world.add_deliveries(endpoint)
        await eventually(lambda: world.in_state("failed"))

    assert (await world.row(delivery))["content"] is not None


async def test_two_replays_at_once_take_different_deliveries_and_neither_waits(world: SinkWorld):
    await world.add_deliveries(await world.endpoint(), 5, ring=False)
    await world.db.execute("UPDATE deliveries SET state = 'failed', settled_at = now()")
    which = DeliveryFilter(partner_id=world.partner_id, state=DeliveryState.FAILED)

    async with sessions(world.database_url) as sessionmaker, sessionmaker() as one, sessionmaker() as other:
        async with asyncio.timeout(10):
            first = await replay.replay(one, which, limit=2)
            second = await replay.replay(other, which, limit=5)
        await one.commit()
        await other.commit()

    assert (first.count, second.count) == (2, 3)


@pytest.mark.parametrize("state", [DeliveryState.PENDING, DeliveryState.FAILED, DeliveryState.CANCELLED])
async def test_deliveries_of_several_kinds_are_listed_and_changed_in_the_order_of_their_ids(
    world: SinkWorld, state
):
    """Each kind is a range of an index of its own."""
    ids = []
    for kind in ("events", "new_mail", "user_connected", "new_mail", "events"):
        ids += await world.add_deliveries(await world.endpoint(kind=kind), ring=False)
    ids.sort()
    await world.db.execute("UPDATE deliveries SET state = $1, settled_at = now()", state)
    which = DeliveryFilter(partner_id=world.partner_id, state=state)

    async with sessions(world.database_url) as sessionmaker, sessionmaker.begin() as db:
        first = await history.list_deliveries(db, which, limit=3)
        rest = await history.list_deliveries(db, which, after=ids[2], limit=3)
        if state is DeliveryState.PENDING:
            done = await replay.cancel(db, which, limit=3)
        else:
            done = await replay.replay(db, which, limit=3)

    assert [row.id for row in first + rest] == [webhook_id(each) for each in reversed(ids)]
    assert (done.count, done.remaining) == (3, 2)
    changed = await world.db.fetch("SELECT id FROM deliveries WHERE state <> $1", state)
    assert {row["id"] for row in changed} == set(ids[:3])
