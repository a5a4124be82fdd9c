"""Due deliveries are POSTed, signed, recorded and erased; failed ones are retried and finally given up."""

from __future__ import annotations

import asyncio
import json
import time
from unittest.mock import ANY

import asyncpg
from aiohttp import web
from standardwebhooks import Webhook

from superimap.core import crypto
from superimap.core.content_store import REFERENCE_BYTES
from superimap.dispatcher.lanes.limits import MAX_UNPROVEN_POSTS
from superimap.domain.answers import RETRY_SCHEDULE_SECONDS
from superimap.testing import Received, verify_body_signature
from superimap.webhooks.signing import webhook_id
from tests.integration.dispatcher.conftest import KEY, SinkWorld, eventually, keep_key


async def test_a_delivery_is_posted_with_both_signatures_and_its_content_erased(world: SinkWorld):
    async with world.dispatcher():
        [delivery_id] = await world.add_deliveries(await world.endpoint("/mail"))
        [received] = await world.sink.wait_for(1)
        await eventually(lambda: world.in_state("delivered"))

    assert Webhook(world.secret).verify(received.body, dict(received.headers))["user_tag"] == "ann"
    assert verify_body_signature(received.json, world.api_key)
    assert received.headers["webhook-id"] == webhook_id(delivery_id)
    assert int(received.headers["webhook-timestamp"]) == received.json["timestamp"]
    assert abs(received.json["timestamp"] - time.time()) < 5
    assert received.headers["content-type"] == received.headers["accept"] == "application/json"
    assert received.headers["user-agent"].startswith("SuperIMAP/")
    row = await world.row(delivery_id)
    assert (row["content"], row["attempts"], row["last_code"], row["lease_token"]) == (None, 1, 200, None)
    assert row["settled_at"] is not None
    [attempt] = await world.attempts(delivery_id)
    assert (attempt["number"], attempt["code"], attempt["error"]) == (1, 200, None)


async def test_a_malformed_answer_with_2xx_delivers_once_and_its_attempt_says_what_was_wrong(
    world: SinkWorld,
):
    posts = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal posts
        await reader.readuntil(b"\r\n\r\n")
        posts += 1
        writer.write(b"HTTP/1.1 204 No Content\r\nno colon\r\nContent-Length: 2\r\n\r\nok")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, world.dispatcher():
        endpoint = await world.endpoint()
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await world.db.execute("UPDATE endpoints SET url = $2 WHERE id = $1", endpoint, url)
        [delivery_id] = await world.add_deliveries(endpoint)
        await eventually(lambda: world.in_state("delivered"))

    [attempt] = await world.attempts(delivery_id)
    assert (attempt["code"], attempt["error"], posts) == (204, "protocol", 1)


async def test_the_first_five_retries_follow_the_schedule_to_the_second(world: SinkWorld):
    world.sink.answer = 500
    [delivery_id] = await world.add_deliveries(await world.endpoint())
    delays = []
    async with world.dispatcher():
        for number in range(1, 6):
            await eventually(lambda number=number: _has_attempts(world, delivery_id, number))
            row = await world.row(delivery_id)
            delays.append(row["due_in"])
            assert (row["state"], row["attempts"], row["last_code"]) == ("pending", number, 500)
            await world.db.execute("UPDATE deliveries SET due_at = now()")
        world.sink.answer = 204
        await eventually(lambda: world.in_state("delivered"))

    for delay, planned in zip(delays, RETRY_SCHEDULE_SECONDS, strict=False):
        assert planned - 1 < delay <= planned
    assert [attempt["number"] for attempt in await world.attempts(delivery_id)] == [1, 2, 3, 4, 5, 6]
    assert {received.headers["webhook-id"] for received in world.sink.received} == {webhook_id(delivery_id)}


async def test_after_the_last_attempt_it_fails_and_keeps_its_content(world: SinkWorld):
    world.sink.answer = 500
    [delivery_id] = await world.add_deliveries(await world.endpoint(), ring=False)
    last = len(RETRY_SCHEDULE_SECONDS) + 1
    await world.db.execute("UPDATE deliveries SET attempts = $1", last - 1)

    async with world.dispatcher():
        await eventually(lambda: world.in_state("failed"))

    row = await world.row(delivery_id)
    assert (row["attempts"], row["last_code"], row["content"]) == (last, 500, ANY)
    assert row["content"] is not None and row["settled_at"] is not None


async def test_a_post_that_hangs_ends_at_the_deadline_and_is_retried(world: SinkWorld):
    async def hang(_: Received) -> int:
        await asyncio.Event().wait()
        return 200

    world.sink.answer = hang
    [delivery_id] = await world.add_deliveries(await world.endpoint())

    async with world.dispatcher(webhook_timeout=0.3):
        await eventually(lambda: _has_attempts(world, delivery_id, 1))

    [attempt] = await world.attempts(delivery_id)
    assert (attempt["code"], attempt["error"]) == (None, "timeout")
    assert 250 <= attempt["milliseconds"] < 1500
    assert (await world.row(delivery_id))["due_in"] > 4


async def test_a_403_archives_the_user_and_notifies_the_idlers(world: SinkWorld):
    world.sink.answer = 403
    shard = await world.db.fetchval("SELECT shard FROM users WHERE id = $1", world.user_id)
    listener = await asyncpg.connect(world.database_url)
    heard: asyncio.Queue[str] = asyncio.Queue()
    await listener.add_listener("superimap_users", lambda *given: heard.put_nowait(given[3]))
    endpoint = await world.endpoint()
    async with world.dispatcher() as counts:
        [delivery_id] = await world.add_deliveries(endpoint)
        async with asyncio.timeout(5):
            notified = await heard.get()
    await listener.close()

    user = await world.db.fetchrow("SELECT * FROM users WHERE id = $1", world.user_id)
    assert (user["archived"], user["status"]) == (True, "archived")
    assert user["status_reason"] == "the application answered 403"
    assert notified == str(shard)
    row = await world.row(delivery_id)
    assert (row["state"], row["last_code"]) == ("failed", 403)
    assert row["content"] is not None
    assert (counts.attempts.archived, counts.attempts.failed) == (1, 1)


async def test_a_403_does_not_archive_a_user_with_tracers(world: SinkWorld):
    world.sink.answer = 403
    tracer = await world.user(enable_tracer=True)
    async with world.dispatcher():
        await world.add_deliveries(await world.endpoint(), user_id=tracer)
        await eventually(lambda: world.in_state("failed"))

    assert await world.db.fetchval("SELECT count(*) FROM users WHERE archived") == 0


async def test_a_blank_url_sends_nothing(world: SinkWorld):
    endpoint = await world.endpoint()
    await world.db.execute("UPDATE endpoints SET url = NULL")
    async with world.dispatcher():
        ids = await world.add_deliveries(endpoint, 25)
        await eventually(lambda: _count_is(world, "cancelled", 25))

    assert world.sink.count == 0
    assert await world.attempts(ids[0]) == []


async def test_content_encrypted_with_an_unknown_key_waits_for_the_key(world: SinkWorld):
    """During a key rotation a dispatcher may lack the new key; no delivery may fail permanently for that."""
    [delivery_id] = await world.add_deliveries(await world.endpoint(), ring=False)
    other = crypto.Vault.from_setting(crypto.generate_key())
    place = crypto.Place("deliveries", "content", world.partner_id, str(delivery_id))
    await world.db.execute(
        "UPDATE deliveries SET content = $2 WHERE id = $1", delivery_id, other.seal(b"{}", place)
    )
    async with world.dispatcher():
        await eventually(lambda: _has_attempts(world, delivery_id, 1))

    row = await world.row(delivery_id)
    assert (row["state"], row["last_error"]) == ("pending", "unknown_key")


async def test_unreadable_content_fails_once_and_stops_no_other_delivery(world: SinkWorld):
    endpoint = await world.endpoint()
    bad, good = await world.add_deliveries(endpoint, 2, ring=False)
    await world.db.execute(
        "UPDATE deliveries SET content = (SELECT content FROM deliveries WHERE id = $1) WHERE id = $2",
        good,
        bad,
    )
    async with world.dispatcher():
        await eventually(lambda: world.in_state("failed"))
        await eventually(lambda: world.in_state("delivered"))

    assert (await world.row(bad))["last_error"] == "unreadable"
    assert (await world.row(good))["state"] == "delivered"
    assert world.sink.count == 1


async def test_during_a_rotation_each_key_signs_and_an_expired_key_does_not(world: SinkWorld):
    api_key, secret, gone = (
        crypto.generate_api_key(),
        crypto.generate_signing_secret(),
        crypto.generate_api_key(),
    )
    await keep_key(world, "api_keys", api_key)
    await keep_key(world, "signing_secrets", secret)
    expired = await keep_key(world, "api_keys", gone)
    await world.db.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", expired)
    async with world.dispatcher():
        await world.add_deliveries(await world.endpoint())
        [received] = await world.sink.wait_for(1)

    for known in (world.secret, secret):
        Webhook(known).verify(received.body, dict(received.headers))
    assert verify_body_signature(received.json, world.api_key)
    assert len(received.json["signatures"]) == 2
    assert verify_body_signature(received.json | {"signature": received.json["signatures"][1]}, api_key)


async def test_a_partner_without_a_key_is_sent_nothing_until_it_has_one(world: SinkWorld):
    await world.db.execute("DELETE FROM api_keys")
    [delivery_id] = await world.add_deliveries(await world.endpoint())
    async with world.dispatcher():
        await eventually(lambda: _has_attempts(world, delivery_id, 1))

    assert (await world.row(delivery_id))["last_error"] == "unsigned"
    assert world.sink.count == 0


async def test_an_answer_is_stored_sealed_without_nul_and_cut_to_1024_characters(world: SinkWorld):
    world.sink.answer = lambda _: web.Response(status=500, body=b"\x00\xff" + "é".encode() * 2000)
    [delivery_id] = await world.add_deliveries(await world.endpoint())
    async with world.dispatcher():
        await eventually(lambda: _has_attempts(world, delivery_id, 1))

    [attempt] = await world.attempts(delivery_id)
    place = crypto.Place("attempts", "body", attempt["partner_id"], str(attempt["id"]))
    assert crypto.Vault.from_setting(KEY).open_text(attempt["body"], place) == "\ufffd" + "é" * 1023


async def test_posts_in_flight_to_an_endpoint_stay_within_the_limit_over_all_dispatchers(
    world: SinkWorld,
):
    async def slowly(_: Received) -> int:
        await asyncio.sleep(0.005)
        return 200

    world.sink.answer = slowly
    endpoint = await world.endpoint()
    await world.add_deliveries(endpoint, 60, ring=False)
    async with world.dispatcher(posts_per_endpoint=3), world.dispatcher(posts_per_endpoint=3):
        await eventually(lambda: _count_is(world, "delivered", 60))

    assert world.sink.count == 60
    assert world.sink.most_at_once <= 3


async def test_two_dispatchers_send_each_delivery_once(world: SinkWorld):
    endpoints = [await world.endpoint(f"/{kind}", kind=kind) for kind in ("new_mail", "user_connected")]
    async with world.dispatcher() as one, world.dispatcher() as other:
        for _ in range(20):
            for endpoint in endpoints:
                await world.add_deliveries(endpoint, 10)
        await eventually(lambda: _count_is(world, "delivered", 400))

    ids = [received.headers["webhook-id"] for received in world.sink.received]
    assert len(ids) == len(set(ids)) == 400
    assert one.attempts.delivered + other.attempts.delivered == 400


async def test_a_delivery_that_becomes_due_is_found_without_a_doorbell(world: SinkWorld):
    [delivery_id] = await world.add_deliveries(await world.endpoint(), ring=False)
    await world.db.execute("UPDATE deliveries SET due_at = now() + interval '0.4 seconds'")
    async with world.dispatcher():
        await world.sink.wait_for(1)

    assert json.loads(world.sink.received[0].body)["user_tag"] == "ann"
    assert world.sink.received[0].headers["webhook-id"] == webhook_id(delivery_id)


async def test_other_endpoints_do_not_wait_for_one_that_hangs(world: SinkWorld):
    released = asyncio.Event()

    async def hang(_: Received) -> int:
        await released.wait()
        return 200

    world.sink.on("/hangs", hang)
    hangs = await world.endpoint("/hangs", kind="user_connected")
    good = await world.endpoint("/good")
    async with world.dispatcher(webhook_timeout=5):
        await world.add_deliveries(hangs, 50)
        await world.sink.wait_for(lambda received: len(world.sink.to("/hangs")) == MAX_UNPROVEN_POSTS)
        await world.add_deliveries(good, 50)
        await world.sink.wait_for(lambda received: len(world.sink.to("/good")) == 50)
        assert len(world.sink.to("/hangs")) == MAX_UNPROVEN_POSTS
        released.set()
        await eventually(lambda: _count_is(world, "delivered", 100))


async def test_a_stop_lets_posts_in_flight_end_and_claims_no_more(world: SinkWorld):
    held = asyncio.Event()

    async def hold(_: Received) -> int:
        await held.wait()
        return 200

    world.sink.answer = hold
    await world.add_deliveries(await world.endpoint(), 30, ring=False)
    async with world.dispatcher(webhook_timeout=5):
        await world.sink.wait_for(MAX_UNPROVEN_POSTS)
        asyncio.get_running_loop().call_later(0.2, held.set)

    assert await world.in_state("delivered") == MAX_UNPROVEN_POSTS
    assert await world.in_state("pending") == 30 - MAX_UNPROVEN_POSTS
    assert world.sink.count == MAX_UNPROVEN_POSTS


async def _has_attempts(world: SinkWorld, delivery_id: object, count: int) -> bool:
    return (
        await world.db.fetchval("SELECT count(*) FROM attempts WHERE delivery_id = $1", delivery_id) >= count
    )


async def _count_is(world: SinkWorld, state: str, count: int) -> bool:
    return await world.in_state(state) == count


async def test_a_delivery_that_could_not_be_sent_does_not_narrow_an_endpoint(world: SinkWorld):
    """Its content is in an object store, which this dispatcher does not know."""
    is_wide = asyncio.Event()

    async def answer(_: Received) -> int:
        if world.sink.most_at_once > MAX_UNPROVEN_POSTS:
            is_wide.set()
        await is_wide.wait()
        return 200

    endpoint = await world.endpoint()
    async with world.dispatcher(webhook_timeout=10.0):
        await world.add_deliveries(endpoint)
        await eventually(lambda: world.in_state("delivered"))
        [unsent] = await world.add_deliveries(endpoint, ring=False)
        await world.db.execute(
            "UPDATE deliveries SET content = $1 WHERE id = $2", b"\x03" + bytes(REFERENCE_BYTES - 1), unsent
        )
        await world.queue.ring(endpoint)
        await eventually(lambda: world.attempts(unsent))
        world.sink.answer = answer
        await world.add_deliveries(endpoint, 8)
        await eventually(lambda: _equal(world.sink.count, 9), within=5)

    assert [each["error"] for each in await world.attempts(unsent)] == ["content_unavailable"]


async def _equal(found: int, expected: int) -> bool:
    return found == expected
