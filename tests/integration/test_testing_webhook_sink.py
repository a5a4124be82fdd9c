"""The webhook sink records and answers requests; webhooks are signed and verified."""

import asyncio
import base64
import hashlib
import hmac
import json
from uuid import UUID

import aiohttp
import pytest

from superimap.testing import Received, WebhookSink, signed_webhook, verify_body_signature, verify_standard
from superimap.webhooks import signing

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()


@pytest.fixture
async def sink():
    async with WebhookSink() as sink:
        yield sink


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as http:
        yield http


async def post(http, url, body=b"{}", **headers):
    async with http.post(url, data=body, headers=headers) as response:
        return response.status


async def test_a_request_is_recorded_with_path_headers_and_bytes(sink, http):
    status = await post(http, sink.url("/new_mail?x=1"), b'{"a": [1]}', **{"Webhook-Id": "m1"})

    [received] = await sink.wait_for(1)
    assert status == 200
    assert received.method == "POST"
    assert received.path == "/new_mail?x=1"
    assert received.headers["webhook-id"] == "m1"
    assert received.body == b'{"a": [1]}'
    assert received.json == {"a": [1]}
    assert sink.to("/new_mail") == [received]


async def test_each_path_has_its_own_answer(sink, http):
    async def gone(received: Received) -> int:
        return 410

    sink.on("/archived", 403)
    sink.on("/gone", gone)
    sink.on("/picky", lambda received: 200 if received.json["ok"] else 500)

    statuses = [
        await post(http, sink.url("/archived")),
        await post(http, sink.url("/gone")),
        await post(http, sink.url("/picky"), b'{"ok": false}'),
        await post(http, sink.url("/other")),
    ]

    assert statuses == [403, 410, 500, 200]


async def test_a_request_is_seen_while_its_answer_hangs(sink, http):
    release = asyncio.Event()

    async def hangs(received: Received) -> int:
        await release.wait()
        return 204

    sink.answer = hangs
    async with asyncio.TaskGroup() as tasks:
        posting = tasks.create_task(post(http, sink.url()))
        await sink.wait_for(1)
        unanswered = not posting.done()
        release.set()

    assert unanswered
    assert posting.result() == 204


async def test_waiting_for_a_predicate_returns_as_soon_as_it_is_true(sink, http):
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(sink.wait_for(lambda all_: any(r.body == b"3" for r in all_)))
        for body in (b"1", b"2", b"3"):
            await post(http, sink.url(), body)

    assert [received.body for received in waiting.result()] == [b"1", b"2", b"3"]


async def test_waiting_for_a_request_that_never_comes_times_out(sink):
    with pytest.raises(TimeoutError):
        await sink.wait_for(1, timeout=0.01)


async def test_a_megabyte_arrives_unchanged(sink, http):
    body = bytes(range(256)) * 4096

    await post(http, sink.url(), body)

    assert sink.received[0].body == body


async def test_a_thousand_concurrent_posts_are_all_counted_without_recording(http):
    async with WebhookSink(record=False) as sink:
        await asyncio.gather(*(post(http, sink.url()) for _ in range(1000)))

        assert sink.count == 1000
        assert sink.received == []


async def test_closing_the_sink_does_not_wait_for_an_answer_that_hangs(http):
    async def hangs(received: Received) -> int:
        await asyncio.Event().wait()
        return 200

    async with asyncio.timeout(5):
        async with WebhookSink(answer=hangs) as sink:
            posting = asyncio.create_task(post(http, sink.url()))
            await sink.wait_for(1)

    with pytest.raises(aiohttp.ClientError):
        await posting


def test_the_body_signature_covers_timestamp_and_sha1():
    signature = hmac.new(b"key", b"1700000000" + b"ab12", hashlib.sha256).hexdigest()
    body = {"timestamp": 1700000000, "sha1": "ab12", "signature": signature}

    assert verify_body_signature(body, "key")
    assert not verify_body_signature(body, "other")
    assert not verify_body_signature(body | {"sha1": "ab13"}, "key")
    assert not verify_body_signature(body | {"signature": None}, "key")
    assert not verify_body_signature({}, "key")
    assert not verify_body_signature(body | {"signature": "ünfug"}, "key")


def test_standard_webhooks_are_verified_like_the_reference_library_does():
    from datetime import UTC, datetime

    from standardwebhooks import Webhook

    body, moment = json.dumps({"a": "ü"}), datetime.now(UTC)
    signature = Webhook(SECRET).sign("msg_1", moment, body)
    headers = {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(int(moment.timestamp()))}

    assert verify_standard(headers | {"Webhook-Signature": signature}, body.encode(), SECRET)
    assert verify_standard(headers | {"Webhook-Signature": f"v1,AAAA {signature}"}, body.encode(), SECRET)
    assert not verify_standard(headers | {"Webhook-Signature": signature}, body.encode() + b" ", SECRET)
    assert not verify_standard(headers | {"Webhook-Signature": "v2" + signature[2:]}, body.encode(), SECRET)
    assert not verify_standard(headers, body.encode(), SECRET)


def test_a_signed_webhook_is_verified_by_header_and_by_body():
    headers, body = signed_webhook({"sha1": "ab12", "user_tag": "joe"}, api_key="sip_one", secret=SECRET)
    fields = json.loads(body)

    assert verify_standard(headers, body, SECRET)
    assert verify_body_signature(fields, "sip_one")
    assert fields["user_tag"] == "joe"
    assert not verify_standard(headers, body.replace(b"joe", b"eve"), SECRET)
    assert not verify_body_signature(fields, "sip_two")


def test_a_signed_webhook_is_signed_as_the_dispatcher_does():
    delivery_id = UUID(int=7)
    identity = signing.webhook_id(delivery_id)
    headers, body = signed_webhook(
        {"sha1": "ab12"}, api_key="sip_one", secret=SECRET, webhook_id=identity, timestamp=1_700_000_000
    )

    sent = signing.standard_headers(delivery_id, timestamp=1_700_000_000, body=body, secrets=[SECRET])
    assert sent.items() <= headers.items()
    assert json.loads(body)["signature"] == signing.body_signature(
        "sip_one", timestamp=1_700_000_000, sha1="ab12"
    )
