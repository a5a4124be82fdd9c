"""Deliveries: lists, filters, replays and cancellations."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import pytest_asyncio

from fixtures.deliveries import DeliveryFactory
from superimap.db.accounts import allowances

DELIVERIES = "/api/v1/deliveries"
HOOK = "https://app.example.com/hook"


@pytest_asyncio.fixture
async def factory(world, acme) -> DeliveryFactory:
    """Deliveries for acme, which has the user ann and a URL."""
    made = DeliveryFactory(world.sessionmaker, world.vault)
    await made.user("ann")
    await made.endpoint(HOOK)
    return made


@pytest_asyncio.fixture
async def theirs(world, globex) -> DeliveryFactory:
    """The same for globex."""
    made = DeliveryFactory(world.sessionmaker, world.vault, "globex")
    await made.user("ann")
    await made.endpoint(HOOK)
    return made


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()]


# Listing.


async def test_deliveries_are_listed_latest_first_without_their_content(acme, factory):
    made = await factory.deliveries(3)

    answer = await acme.get(DELIVERIES)

    assert ids(answer) == made[::-1]
    row = answer.json()[0]
    assert (row["state"], row["kind"], row["user_tag"], row["attempts"]) == ("failed", "new_mail", "ann", 17)
    assert (row["last_code"], row["has_content"], row["next_attempt_at"]) == (500, True, None)
    assert "rfc822" not in answer.text


async def test_deliveries_are_filtered_by_state_kind_user_and_time(acme, factory):
    await factory.user("bob")
    await factory.endpoint(HOOK, "user_connected")
    (failed,) = await factory.deliveries()
    (pending,) = await factory.deliveries(state="pending")
    (of_bob,) = await factory.deliveries(tag="bob")
    (connected,) = await factory.deliveries(kind="user_connected")
    (old,) = await factory.deliveries(created_at=datetime.now(UTC) - timedelta(hours=5))
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()

    async def listed(**params: str) -> set[str]:
        return set(ids(await acme.get(DELIVERIES, params=params)))

    assert await listed(state="pending") == {pending}
    assert await listed(kind="user_connected") == {connected}
    assert await listed(user_tag="bob") == {of_bob}
    assert await listed(user_tag="bob", imap_provider_code="plain") == {of_bob}
    assert await listed(imap_provider_code="plain") == await listed()
    assert (await acme.get(DELIVERIES, params={"imap_provider_code": "GMAIL"})).status_code == 404
    assert await listed(until=hour_ago) == {old}
    assert await listed(since=hour_ago, state="failed", user_tag="ann") == {failed, connected}


async def test_pages_follow_one_another_and_keep_the_filters(acme, factory):
    made = await factory.deliveries(5)
    await factory.deliveries(state="pending")

    first = await acme.get(DELIVERIES, params={"limit": 2, "state": "failed", "api_key": "ignored"})
    second = await acme.get(first.links["next"]["url"])
    third = await acme.get(second.links["next"]["url"])

    assert ids(first) + ids(second) + ids(third) == made[::-1]
    assert "next" not in third.links
    assert "api_key" not in first.headers["Link"]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"state": "dead"}, "state"),
        ({"kind": "x"}, "kind"),
        ({"limit": "0"}, "limit"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-09-21T14:00:00"}, "since"),
        ({"until": "0001-01-01T00:00:00Z"}, "until"),
        ({"after": "msg_1"}, "after"),
    ],
)
async def test_an_invalid_filter_is_named(acme, params, field):
    answer = await acme.get(DELIVERIES, params=params)

    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]


async def test_a_filter_for_an_unknown_user_is_404_and_not_an_empty_list(acme, factory):
    for tag in ("nobody", "nul\0"):
        assert (await acme.get(DELIVERIES, params={"user_tag": tag})).status_code == 404
    half_a_pair, json = b'{"user_tag":"\\ud800"}', {"content-type": "application/json"}
    assert (await acme.post(f"{DELIVERIES}/replay", content=half_a_pair, headers=json)).status_code == 404


async def test_a_delivery_is_shown_with_its_attempts_and_their_responses(acme, factory):
    (delivery,) = await factory.deliveries(attempts=2)
    await factory.attempt(delivery, 1, code=None, answer="", error="timeout")
    await factory.attempt(delivery, 2, code=500, answer="Ouch <b>")

    shown = (await acme.get(f"{DELIVERIES}/{delivery}")).json()

    assert shown["id"] == delivery
    assert [
        (one["number"], one["code"], one["error"], one["milliseconds"]) for one in shown["attempts_made"]
    ] == [
        (1, None, "timeout", 41),
        (2, 500, None, 41),
    ]
    assert shown["attempts_made"][1]["answer"] == "Ouch <b>"


async def test_abuse_24_and_27_deliveries_of_another_partner_are_404(acme, factory, theirs, globex):
    (delivery,) = await theirs.deliveries(state="failed")
    (pending,) = await theirs.deliveries(state="pending")
    mine = await factory.deliveries(2)

    for method, path in (
        ("GET", delivery),
        ("POST", f"{delivery}/replay"),
        ("POST", f"{pending}/replay"),
        ("POST", f"{pending}/cancel"),
        ("POST", f"{delivery}/cancel"),
        ("GET", "msg_" + "0" * 32),
        ("GET", "1"),
    ):
        answer = await acme.request(method, f"{DELIVERIES}/{path}")
        assert (answer.status_code, answer.json()["detail"]) == (404, "Delivery not found.")
    assert ids(await acme.get(DELIVERIES)) == mine[::-1]
    assert ids(await acme.get(DELIVERIES, params={"after": delivery})) == []
    assert (await acme.post(f"{DELIVERIES}/replay")).json()["replayed"] == 2
    assert (await acme.post(f"{DELIVERIES}/cancel")).json() == {"cancelled": 2, "remaining": 0}
    assert await theirs.state(delivery) == "failed"
    assert await theirs.state(pending) == "pending"


# Replaying.


async def test_a_replay_keeps_the_id_and_is_due_at_once(acme, factory):
    (delivery,) = await factory.deliveries()

    answer = await acme.post(f"{DELIVERIES}/{delivery}/replay")

    assert answer.status_code == 200
    assert (answer.json()["id"], answer.json()["state"], answer.json()["attempts"]) == (
        delivery,
        "pending",
        17,
    )
    assert datetime.fromisoformat(answer.json()["next_attempt_at"]) <= datetime.now(UTC)
    assert answer.json()["settled_at"] is None


@pytest.mark.parametrize(
    ("state", "has_content", "kind", "says"),
    [
        ("failed", False, "erased", "CONTENT_RETENTION_DAYS"),
        ("cancelled", False, "erased", "nothing is left to send"),
        ("delivered", False, "erased", "delivered"),
        ("pending", True, "owed", "next_attempt_at"),
        ("sending", True, "owed", "still pending"),
    ],
)
async def test_a_replay_that_is_impossible_is_refused_with_the_reason(
    acme, factory, state, has_content, kind, says
):
    (delivery,) = await factory.deliveries(state=state, has_content=has_content)

    answer = await acme.post(f"{DELIVERIES}/{delivery}/replay")

    assert answer.status_code == 409
    assert answer.json()["type"] == f"urn:superimap:problem:{kind}"
    assert says in answer.json()["detail"]
    assert await factory.state(delivery) == state


async def test_abuse_61_a_replay_goes_only_to_the_partners_own_url(acme, factory):
    (delivery,) = await factory.deliveries()
    body = {"url": "https://victim.example/", "endpoint_id": 2}
    await factory.endpoint(None)

    without = await acme.post(f"{DELIVERIES}/{delivery}/replay", json=body)
    await factory.endpoint(HOOK)
    await factory.value("UPDATE endpoints SET disabled_at = now(), disabled_reason = 'gone' RETURNING id")
    disabled = await acme.post(f"{DELIVERIES}/{delivery}/replay", json=body)
    elsewhere = await acme.post(f"{DELIVERIES}/replay", json=body)
    many = await acme.post(f"{DELIVERIES}/replay")

    assert [fault["field"] for fault in elsewhere.json()["errors"]] == ["url", "endpoint_id"]
    assert [without.status_code, disabled.status_code] == [409, 409]
    assert without.json()["type"].endswith(":endpoint-not-ready")
    assert "enable" in disabled.json()["detail"]
    assert many.json() == {"replayed": 0, "remaining": 0, "erased": 0, "blocked": 1}


async def test_a_bulk_replay_takes_the_oldest_first_in_limited_batches(acme, factory):
    made = await factory.deliveries(4)
    await factory.deliveries(has_content=False)
    await factory.deliveries(state="cancelled")

    first = await acme.post(f"{DELIVERIES}/replay", json={"limit": 3})

    assert first.json() == {"replayed": 3, "remaining": 1, "erased": 1, "blocked": 0}
    assert [await factory.state(id_) for id_ in made] == ["pending", "pending", "pending", "failed"]
    assert (await acme.post(f"{DELIVERIES}/replay", json={"limit": 3})).json()["replayed"] == 1
    assert (await acme.post(f"{DELIVERIES}/replay", json={"state": "cancelled"})).json()["replayed"] == 1


async def test_a_bulk_replay_selects_by_user_and_time(acme, factory):
    await factory.user("bob")
    (old,) = await factory.deliveries(created_at=datetime.now(UTC) - timedelta(hours=5))
    of_ann, of_bob = (await factory.deliveries())[0], (await factory.deliveries(tag="bob"))[0]
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()

    answer = await acme.post(f"{DELIVERIES}/replay", json={"user_tag": "ann", "since": hour_ago})

    assert answer.json()["replayed"] == 1
    assert [await factory.state(id_) for id_ in (old, of_ann, of_bob)] == ["failed", "pending", "failed"]


async def test_two_replays_at_once_replay_each_delivery_once(acme, factory):
    await factory.deliveries(20)

    answers = await asyncio.gather(*(acme.post(f"{DELIVERIES}/replay", json={"limit": 15}) for _ in range(3)))

    assert sum(answer.json()["replayed"] for answer in answers) == 20


@pytest.mark.parametrize("limit", [0, 1001, "many"])
async def test_the_limit_of_a_bulk_replay_is_validated(acme, limit):
    answer = await acme.post(f"{DELIVERIES}/replay", json={"limit": limit})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "limit"


async def test_abuse_61_replays_are_limited_per_minute(acme, factory, globex, theirs, monkeypatch):
    monkeypatch.setitem(allowances.MAX_PER_WINDOW, allowances.Action.REPLAY, 3)
    made = await factory.deliveries(5)
    await theirs.deliveries(1)

    first = await acme.post(f"{DELIVERIES}/replay", json={"limit": 2})
    second = await acme.post(f"{DELIVERIES}/replay")
    refused = await acme.post(f"{DELIVERIES}/{made[-1]}/replay")

    assert (first.json()["replayed"], second.json()["replayed"]) == (2, 1)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert await factory.state(made[-1]) == "failed"
    assert (await globex.post(f"{DELIVERIES}/replay")).json()["replayed"] == 1
    await factory.value("UPDATE allowances SET since = since - interval '1 minute' RETURNING 1")
    assert (await acme.post(f"{DELIVERIES}/{made[-1]}/replay")).status_code == 200


async def test_only_replayed_deliveries_count_towards_the_limit(acme, factory, monkeypatch):
    monkeypatch.setitem(allowances.MAX_PER_WINDOW, allowances.Action.REPLAY, 3)
    await factory.deliveries(1)

    for _ in range(5):
        assert (await acme.post(f"{DELIVERIES}/replay")).status_code == 200
    (delivered,) = await factory.deliveries(state="delivered", has_content=False)
    for _ in range(5):
        assert (await acme.post(f"{DELIVERIES}/{delivered}/replay")).status_code == 409


# Cancelling.


async def test_a_pending_delivery_is_cancelled_and_can_be_replayed(acme, factory):
    (delivery,) = await factory.deliveries(state="pending", attempts=3)

    cancelled = await acme.post(f"{DELIVERIES}/{delivery}/cancel")
    again = await acme.post(f"{DELIVERIES}/{delivery}/replay")

    assert cancelled.json()["state"] == "cancelled"
    assert cancelled.json()["settled_at"] is not None
    assert again.json()["state"] == "pending"


@pytest.mark.parametrize(
    ("state", "kind"), [("sending", "owed"), ("failed", "settled"), ("cancelled", "settled")]
)
async def test_a_delivery_in_flight_or_settled_cannot_be_cancelled(acme, factory, state, kind):
    (delivery,) = await factory.deliveries(state=state)

    answer = await acme.post(f"{DELIVERIES}/{delivery}/cancel")

    assert answer.status_code == 409
    assert answer.json()["type"] == f"urn:superimap:problem:{kind}"
    assert await factory.state(delivery) == state


async def test_a_bulk_cancellation_is_limited_in_size(acme, factory):
    await factory.deliveries(3, state="pending")
    (sending,) = await factory.deliveries(state="sending")

    first = await acme.post(f"{DELIVERIES}/cancel", json={"limit": 2, "user_tag": "ann"})
    second = await acme.post(f"{DELIVERIES}/cancel", json={"limit": 2})

    assert first.json() == {"cancelled": 2, "remaining": 1}
    assert second.json() == {"cancelled": 1, "remaining": 0}
    assert await factory.state(sending) == "sending"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"imap_provider_code": "GMAIL"}, 404),
        ({"state": "failed"}, 422),
        ({"user_tag": None}, 422),
        ({"ser_tag": "bob"}, 422),
        ({"since": None}, 422),
    ],
)
async def test_a_cancellation_that_selects_nothing_never_cancels_everything(acme, factory, fields, status):
    await factory.deliveries(2, state="pending")

    answer = await acme.post(f"{DELIVERIES}/cancel", json=fields)

    assert answer.status_code == status, answer.text
    assert await factory.value("SELECT count(*) FROM deliveries WHERE state = 'pending'") == 2
