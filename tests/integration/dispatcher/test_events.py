"""Events are sent like any other webhook, with content made at each attempt; a 403 to one archives no user."""

from __future__ import annotations

import uuid
from urllib.parse import parse_qs, urlsplit

import pytest

from superimap.core import ids
from superimap.db.delivery import replay
from superimap.db.engine import sessions
from superimap.db.rotation import rotate_keys
from superimap.oauth import links
from superimap.testing.signatures import verify_body_signature, verify_standard
from tests.integration.dispatcher.conftest import KEY, SinkWorld, eventually

BASE = "https://mail.example.com"


async def record_event(
    world: SinkWorld, kind: str = "reauth_required", code: str | None = "login_refused"
) -> uuid.UUID:
    """Record an event about the user; returns the id of its delivery."""
    await world.db.execute(
        "WITH event AS (INSERT INTO user_events (partner_id, user_id, kind, code, reason)"
        " SELECT partner_id, id, $2, $3, 'It said no.' FROM users WHERE id = $1 RETURNING *)"
        " INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind, event_id, content)"
        " SELECT $4, v.partner_id, e.id, v.user_id, e.kind, v.id, '' FROM event v"
        " JOIN endpoints e ON e.partner_id = v.partner_id AND e.kind = 'events' AND e.url IS NOT NULL",
        world.user_id, kind, code, ids.uuid7(),
    )  # fmt: skip
    return await world.db.fetchval("SELECT id FROM deliveries WHERE kind = 'events' ORDER BY id DESC LIMIT 1")


async def tag_of(world: SinkWorld) -> str:
    return await world.db.fetchval("SELECT tag FROM users WHERE id = $1", world.user_id)


async def test_an_event_is_found_sent_and_signed_like_any_other_webhook(world):
    await world.endpoint("/events", kind="events")
    async with world.dispatcher(base_url=BASE):
        delivery_id = await record_event(world)  # and no doorbell rings
        (received,) = await world.sink.wait_for(1)
        await eventually(lambda: world.in_state("delivered"))

    assert received.headers["webhook-id"] == f"msg_{delivery_id.hex}"
    assert verify_standard(received.headers, received.body, world.secret)
    assert verify_body_signature(received.json, world.api_key)
    at = await world.db.fetchval("SELECT at FROM user_events")
    assert (
        received.json.items()
        >= {
            "event": "user_reauth_required",
            "user_tag": await tag_of(world),
            "imap_provider_code": "X",
            "happened_at": at.isoformat().replace("+00:00", "Z"),
            "reason_code": "login_refused",
            "reason": "It said no.",
        }.items()
    )
    assert (await world.row(delivery_id))["content"] is None


async def test_the_link_is_valid_however_old_the_event_is(world):
    await world.endpoint("/events", kind="events")
    await record_event(world)
    await world.db.execute("UPDATE user_events SET at = now() - interval '3 days'")
    await world.db.execute("UPDATE deliveries SET created_at = now() - interval '3 days', attempts = 16")
    async with world.dispatcher(base_url=BASE):
        (received,) = await world.sink.wait_for(1)

    link = urlsplit(received.json["connect_url"])
    query = {name: values[0] for name, values in parse_qs(link.query).items()}
    assert f"{link.scheme}://{link.netloc}{link.path}" == f"{BASE}/users/connect/new"
    assert int(query["user_id"]) == world.user_id
    verdict = links.verify(
        links.Purpose.CONNECT, world.user_id, int(query["ts"]), query["sig"], links.derive_keys(KEY),
        now=received.json["timestamp"],
    )  # fmt: skip
    assert verdict is links.LinkValidity.VALID
    assert int(query["ts"]) == pytest.approx(received.json["timestamp"], abs=1)


async def test_without_a_base_url_the_link_is_null(world):
    await world.endpoint("/events", kind="events")
    await record_event(world)
    async with world.dispatcher():
        (received,) = await world.sink.wait_for(1)

    assert received.json["connect_url"] is None


async def test_a_403_from_the_events_url_archives_no_user_and_is_retried(world):
    await world.endpoint("/events", kind="events")
    world.sink.answer = 403
    delivery_id = await record_event(world)
    async with world.dispatcher():
        await eventually(lambda: world.attempts(delivery_id))

    assert (await world.row(delivery_id))["state"] == "pending"
    assert (await world.row(delivery_id))["due_in"] == pytest.approx(6, abs=3)
    assert not await world.db.fetchval("SELECT bool_or(archived) FROM users")
    assert await world.db.fetchval("SELECT failures FROM endpoints WHERE kind = 'events'") == 1


async def test_a_403_that_archives_causes_one_event(world):
    await world.endpoint("/events", kind="events")
    new_mail = await world.endpoint("/new_mail")
    world.sink.on("/new_mail", 403)
    await world.add_deliveries(new_mail, 3)
    async with world.dispatcher():
        await eventually(lambda: world.in_state("delivered"))
        await eventually(lambda: _is(world, "SELECT count(*) = 3 FROM deliveries WHERE state = 'failed'"))

    (event,) = world.sink.to("/events")
    assert (event.json["event"], event.json["reason_code"]) == ("user_archived", "application_refused")
    assert event.json["reason"] == "the application answered 403"
    assert await _is(world, "SELECT count(*) = 1 FROM user_events")


async def test_a_failed_event_is_replayed_under_its_id_while_it_is_kept(world):
    await world.endpoint("/events", kind="events")
    delivery_id = await record_event(world, "stalled", None)
    await world.db.execute("UPDATE deliveries SET state = 'failed', settled_at = now(), attempts = 17")
    async with sessions(world.database_url) as sessionmaker, sessionmaker.begin() as db:
        await replay.replay_one(db, world.partner_id, delivery_id)
    async with world.dispatcher():
        (received,) = await world.sink.wait_for(1)
        await eventually(lambda: world.in_state("delivered"))

    assert received.headers["webhook-id"] == f"msg_{delivery_id.hex}"
    assert (received.json["event"], received.json["reason"]) == ("user_stalled", "It said no.")
    assert "reason_code" not in received.json


async def test_events_have_nothing_to_reseal(world):
    await world.endpoint("/events", kind="events")
    await record_event(world)
    async with sessions(world.database_url) as sessionmaker:
        done = await rotate_keys(sessionmaker, world.vault)

    assert done.unopened == []
    assert done.resealed["deliveries.content"] == 0


async def _is(world: SinkWorld, sql: str) -> bool:
    return bool(await world.db.fetchval(sql))
