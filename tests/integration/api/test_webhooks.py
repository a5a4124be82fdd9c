"""Endpoints: health, enabling, test webhooks, and signing secrets."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import httpx
import pytest
import pytest_asyncio
from aiohttp import web
from standardwebhooks import Webhook

from fixtures.deliveries import DeliveryFactory
from superimap.db.accounts import allowances, api_keys, partner_keys, partners
from superimap.domain.events import EventKind
from superimap.testing import WebhookSink
from superimap.testing.signatures import verify_body_signature, verify_standard

WEBHOOKS = "/api/v1/webhooks"
HOOK = "https://app.example.com/hook"


@pytest_asyncio.fixture
async def factory(world, acme) -> DeliveryFactory:
    made = DeliveryFactory(world.sessionmaker, world.vault)
    await made.user("ann")
    return made


@pytest_asyncio.fixture
async def sink():
    async with WebhookSink() as made:
        yield made


async def secrets(world) -> tuple[str, ...]:
    async with world.sessionmaker.begin() as db:
        acme = await partners.by_name(db, "acme")
        return (await partner_keys.signing_keys(db, world.vault, acme.id)).secrets


# Endpoints.


async def test_each_kind_is_listed_with_its_health(acme, factory):
    await factory.endpoint(HOOK)
    await factory.value(
        "UPDATE endpoints SET disabled_at = now(), disabled_reason = 'gone', breaker = 'open', failures = 3, "
        "failing_since = now(), probe_at = now() WHERE kind = 'new_mail' RETURNING 1"
    )

    listed = {row["kind"]: row for row in (await acme.get(WEBHOOKS)).json()}

    assert listed.keys() == set(EventKind)
    assert listed["user_connected"]["url"] is None
    mail = listed["new_mail"]
    assert (mail["url"], mail["breaker"], mail["failures"], mail["disabled_reason"]) == (
        HOOK,
        "open",
        3,
        "gone",
    )
    assert mail["disabled_at"] and mail["failing_since"] and mail["next_probe_at"]


async def test_enabling_an_endpoint_resets_its_health(acme, factory):
    await factory.endpoint(HOOK)
    fresh = (await acme.get(WEBHOOKS)).json()
    await factory.value(
        "UPDATE endpoints SET disabled_at = now(), disabled_reason = 'failing', breaker = 'slow_start', "
        "failures = 3, failing_since = now(), probe_at = now(), width = 2, setbacks = 4 RETURNING 1"
    )

    answer = await acme.post(f"{WEBHOOKS}/new_mail/enable")

    assert answer.status_code == 200
    assert answer.json() == next(row for row in fresh if row["kind"] == "new_mail")
    assert await factory.value("SELECT count(*) FROM endpoints WHERE width IS NULL AND setbacks = 0") == 1
    assert await factory.value("SELECT count(*) FROM endpoints WHERE disabled_at IS NULL") == 1


async def test_pending_webhooks_are_sent_at_once_after_enabling(acme, factory):
    await factory.endpoint("https://app.example.com/hook")
    await factory.deliveries(2, state="pending")
    await factory.value("UPDATE deliveries SET due_at = now() + interval '1 h' RETURNING 1")

    await acme.post(f"{WEBHOOKS}/new_mail/enable")

    assert await factory.value("SELECT count(*) FROM deliveries WHERE due_at <= now()") == 2


@pytest.mark.parametrize("path", ["user_connected/enable", "nothing/enable"])
async def test_an_endpoint_without_url_cannot_be_enabled(acme, path):
    assert (await acme.post(f"{WEBHOOKS}/{path}")).status_code == 404


# Test webhooks.


@pytest.mark.parametrize("kind", EventKind)
async def test_a_test_webhook_is_signed_like_any_other_and_marked(world, acme, factory, sink, kind):
    await factory.endpoint(sink.url("/hook"), kind)

    answer = (await acme.post(f"{WEBHOOKS}/test", json={"kind": kind})).json()

    (came,) = sink.received
    assert came.json["test"] is True
    assert verify_body_signature(came.json, world.acme)
    assert verify_standard(came.headers, came.body, (await secrets(world))[0])
    assert came.headers["webhook-id"] == answer["id"]
    assert (answer["is_success"], answer["code"], answer["url"]) == (True, 200, sink.url("/hook"))
    if kind == "new_mail":
        assert came.json["rfc822"].startswith("From: SuperIMAP")
        assert came.json["envelope"]["subject"] == "A test of your webhook"


async def test_the_response_to_a_test_webhook_has_no_consequences(acme, factory, sink):
    await factory.endpoint(sink.url())
    sink.answer = lambda _: web.Response(status=403, text="no such user\0" + "x" * 2000)

    answer = (await acme.post(f"{WEBHOOKS}/test")).json()

    assert (answer["is_success"], answer["code"], answer["error"]) == (False, 403, None)
    assert answer["answer"] == ("no such user" + "x" * 2000)[:1024]
    assert answer["milliseconds"] >= 0
    assert await factory.value("SELECT count(*) FROM users WHERE archived") == 0
    assert await factory.value("SELECT count(*) FROM deliveries") == 0


async def test_a_test_webhook_shows_what_was_wrong_with_an_answer(acme, factory):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await factory.endpoint(url)
        answer = (await acme.post(f"{WEBHOOKS}/test")).json()

    assert (answer["is_success"], answer["code"], answer["error"]) == (True, 200, "protocol")


async def test_a_test_webhook_passes_the_egress_guard(acme, factory):
    await factory.endpoint("http://169.254.169.254/latest/meta-data")

    answer = (await acme.post(f"{WEBHOOKS}/test")).json()

    assert (answer["is_success"], answer["code"], answer["error"]) == (False, None, "egress_blocked")


async def test_an_endpoint_without_url_cannot_be_tested(acme, factory):
    assert (await acme.post(f"{WEBHOOKS}/test", json={"kind": "new_mail"})).status_code == 404
    assert (await acme.post(f"{WEBHOOKS}/test", json={"kind": "mail"})).status_code == 422


async def test_abuse_61_test_webhooks_are_limited_per_minute(acme, factory, sink):
    await factory.endpoint(sink.url())
    most = allowances.MAX_PER_WINDOW[allowances.Action.TEST]

    answers = [await acme.post(f"{WEBHOOKS}/test") for _ in range(most + 2)]

    assert [answer.status_code for answer in answers] == [200] * most + [429, 429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert sink.count == most


async def test_no_database_connection_is_held_while_an_endpoint_answers(world, acme, factory, sink):
    await factory.endpoint(sink.url())
    open_then = []

    async def answer(_):
        pool = world.sessionmaker.kw["bind"].pool
        open_then.append(pool.checkedout())
        return 200

    sink.answer = answer

    assert (await acme.post(f"{WEBHOOKS}/test")).status_code == 200
    assert open_then == [0]


# Signing secrets.


async def test_abuse_33_after_a_rotation_both_secrets_sign_until_the_old_one_ends(world, acme, factory, sink):
    await factory.endpoint(sink.url())
    (old,) = await secrets(world)

    answer = await acme.post(f"{WEBHOOKS}/secret/rotate")
    new = answer.json()["signing_secret"]
    await acme.post(f"{WEBHOOKS}/test")
    await factory.value(
        "UPDATE signing_secrets SET expires_at = now() WHERE expires_at IS NOT NULL RETURNING 1"
    )
    await acme.post(f"{WEBHOOKS}/test")

    assert (answer.status_code, list(answer.json())) == (201, ["signing_secret"])
    during, after = sink.received
    assert Webhook(old).verify(during.body, dict(during.headers))
    assert Webhook(new).verify(during.body, dict(during.headers))
    assert len(during.headers["webhook-signature"].split()) == 2
    assert verify_standard(after.headers, after.body, new)
    assert not verify_standard(after.headers, after.body, old)


async def test_the_overlap_is_a_day_by_default(acme, factory):
    await acme.post(f"{WEBHOOKS}/secret/rotate")
    newest, oldest = (await acme.get(f"{WEBHOOKS}/secret")).json()

    assert (newest["expires_at"], newest["is_valid"], oldest["is_valid"]) == (None, True, True)
    left = "SELECT round(extract(epoch FROM expires_at - now()) / 3600) FROM signing_secrets"
    assert await factory.value(f"{left} WHERE expires_at IS NOT NULL") == 24

    await acme.post(f"{WEBHOOKS}/secret/rotate", json={"overlap_hours": 0})
    assert [one["is_valid"] for one in (await acme.get(f"{WEBHOOKS}/secret")).json()] == [True, False, False]


async def test_abuse_34_a_secret_is_shown_once_and_never_listed(world, acme):
    new = (await acme.post(f"{WEBHOOKS}/secret/rotate")).json()["signing_secret"]

    listed = await acme.get(f"{WEBHOOKS}/secret")

    for secret in await secrets(world):
        assert secret not in listed.text
    assert new in await secrets(world)
    assert set(listed.json()[0]) == {"id", "created_at", "expires_at", "is_valid"}


async def test_the_number_of_valid_secrets_is_limited(acme):
    codes = [(await acme.post(f"{WEBHOOKS}/secret/rotate")).status_code for _ in range(6)]

    assert codes == [201] * 4 + [409] * 2
    assert (await acme.post(f"{WEBHOOKS}/secret/rotate", json={"overlap_hours": 0})).status_code == 201


async def test_rotating_an_api_key_keeps_the_signing_secret(world, acme, factory, sink):
    await factory.endpoint(sink.url())
    async with world.sessionmaker.begin() as db:
        partner = await partners.by_name(db, "acme")
        new = (await api_keys.rotate(db, world.vault, partner.id, overlap=timedelta(hours=1))).secret

    await acme.post(f"{WEBHOOKS}/test")

    (came,) = sink.received
    assert verify_body_signature(came.json, world.acme)
    assert verify_body_signature({**came.json, "signature": came.json["signatures"][1]}, new)
    assert len(came.headers["webhook-signature"].split()) == 1
    assert json.loads(came.body)["test"] is True


async def test_no_webhook_route_answers_without_a_key(world):
    async with world.client() as anonymous:
        for method, path in (
            ("GET", ""),
            ("POST", "/test"),
            ("POST", "/new_mail/enable"),
            ("GET", "/secret"),
            ("POST", "/secret/rotate"),
        ):
            answer: httpx.Response = await anonymous.request(method, WEBHOOKS + path)
            assert answer.status_code == 401
