"""Traces: one for each settled delivery, made of stored times, exported by OTLP and never waited for."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client import REGISTRY

from fixtures.collector import TraceCollector, attributes, collecting
from superimap.core.environment import SettingsError
from superimap.db.delivery import replay
from superimap.db.engine import sessions
from superimap.dispatcher import tracing
from superimap.dispatcher.main import serve
from superimap.dispatcher.tracing import exporter
from superimap.webhooks.signing import webhook_id
from tests.integration.dispatcher.conftest import FAST, SinkWorld, eventually

SOON = replace(FAST, trace_gathering=0.05)


@pytest.fixture
async def collector() -> Iterator[TraceCollector]:
    async with collecting() as made:
        yield made


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"superimap_{name}_total", labels) or 0.0


async def add_mail(world: SinkWorld, *, ring: bool = False) -> uuid.UUID:
    """Add a delivery with its mail: received a second before it was announced, recorded 40 ms later."""
    [delivery] = await world.add_deliveries(await world.endpoint("/secret-path?token=hidden"), ring=ring)
    await world.db.execute(
        "WITH box AS (INSERT INTO mailboxes (partner_id, user_id, account, name)"
        " VALUES ($1, $2, 'ann@example.com', 'INBOX') RETURNING id), mail AS ("
        " INSERT INTO messages (partner_id, user_id, mailbox_id, uid_validity, uid, size, outcome, message_id,"
        "  internal_date, recording_milliseconds, found_by)"
        " SELECT $1, $2, id, 1, 7, 1, 'delivered', '<hello@example.com>', now() - interval '1.04 seconds', 40, 1"
        " FROM box RETURNING id, created_at)"
        " UPDATE deliveries SET message_id = mail.id, created_at = mail.created_at FROM mail",
        world.partner_id, world.user_id,
    )  # fmt: skip
    return delivery


def nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000) * 1000


async def test_the_trace_of_a_mail_with_a_retry_has_every_stage_and_nothing_that_names_a_person(
    world: SinkWorld, collector: TraceCollector
):
    await world.db.execute("UPDATE partners SET send_traceparent = true")
    world.sink.answer = 500
    delivery = await add_mail(world, ring=True)
    headers = {"traces_headers": "authorization=Bearer t0ken, x-scope=mails"}
    async with world.dispatcher(timings=SOON, traces_url=collector.url, **headers):
        await eventually(lambda: world.attempts(delivery))
        assert collector.spans == []  # not settled yet
        world.sink.answer = 204
        await world.db.execute("UPDATE deliveries SET due_at = now()")
        await collector.wait_for(lambda: collector.spans)

    spans = {span.name: span for span in collector.trace(delivery.hex)}
    assert len(spans) == len(collector.spans)
    assert list(spans) == ["mail", "provider", "recording", "sending", "attempt 1", "attempt 2"]
    assert webhook_id(delivery) == f"msg_{spans['mail'].trace_id.hex()}"
    _assert_tree(spans)
    await _assert_times(world, delivery, spans)
    first, second = spans["attempt 1"], spans["attempt 2"]
    assert (first.status.code, second.status.code) == (Status.STATUS_CODE_ERROR, Status.STATUS_CODE_UNSET)
    assert attributes(first)["http.response.status_code"] == 500
    assert attributes(second)["http.response.status_code"] == 204
    parents = [received.headers["traceparent"] for received in world.sink.received]
    assert parents == [f"00-{delivery.hex}-{span.span_id.hex()}-01" for span in (first, second)]
    assert attributes(spans["mail"])["superimap.provider"] == "X"
    assert collector.resource["service.name"] == "superimap"
    assert collector.requests[0]["authorization"] == "Bearer t0ken"
    text = str([(span.name, span.status.message, attributes(span)) for span in collector.spans])
    assert not any(word in text for word in ("example", "@", "secret-path", "hidden", "127.0.0.1", "Subject"))


def _assert_tree(spans: dict[str, Span]) -> None:
    root, *others = spans.values()
    assert root.parent_span_id == b""
    assert {span.parent_span_id for span in others} == {root.span_id}
    assert len({span.span_id for span in spans.values()}) == len(spans)
    for span in others:
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano


async def _assert_times(world: SinkWorld, delivery: uuid.UUID, spans: dict[str, Span]) -> None:
    """Each span has the times that are stored."""
    row, mail = await world.row(delivery), await world.db.fetchrow("SELECT * FROM messages")
    first, second = await world.attempts(delivery)
    found = mail["created_at"] - timedelta(milliseconds=40)
    expected = {
        "provider": (mail["internal_date"], found),
        "recording": (found, row["created_at"]),
        "sending": (row["created_at"], first["started_at"]),
        "attempt 1": (
            first["started_at"],
            first["started_at"] + timedelta(milliseconds=first["milliseconds"]),
        ),
    }
    for name, (start, end) in expected.items():
        span = spans[name]
        assert (span.start_time_unix_nano, span.end_time_unix_nano) == (
            nanoseconds(start),
            nanoseconds(end),
        ), name
    assert spans["mail"].start_time_unix_nano == nanoseconds(mail["internal_date"])
    assert spans["mail"].end_time_unix_nano >= nanoseconds(row["settled_at"])
    assert spans["attempt 2"].start_time_unix_nano == nanoseconds(second["started_at"])


async def test_a_partner_that_did_not_ask_for_it_gets_no_trace_ids(
    world: SinkWorld, collector: TraceCollector
):
    delivery = await add_mail(world, ring=True)
    async with world.dispatcher(timings=SOON, traces_url=collector.url):
        await collector.wait_for(lambda: collector.trace(delivery.hex))

    [received] = world.sink.received
    assert "traceparent" not in {name.lower() for name in received.headers}


async def test_a_collector_that_hangs_delays_no_delivery_and_what_does_not_fit_is_dropped(
    world: SinkWorld, collector: TraceCollector, monkeypatch
):
    monkeypatch.setattr(exporter, "FLUSH_SECONDS", 0.1)
    monkeypatch.setattr(exporter.TraceExporter.__init__, "__kwdefaults__", {"max_queued": 5})
    before = sample("traces_dropped", reason="queue_full"), sample("traces_dropped", reason="stopped")
    collector.held.clear()
    endpoint = await world.endpoint()
    async with world.dispatcher(timings=SOON, traces_url=collector.url):
        await world.add_deliveries(endpoint)
        await collector.wait_for(lambda: collector.requests)
        await world.add_deliveries(endpoint, 20)
        await eventually(lambda: asyncio.sleep(0, len(world.sink.received) == 21))
        await eventually(lambda: _is(world, "delivered", 21))

    assert collector.spans == []
    assert sample("traces_dropped", reason="queue_full") - before[0] == 15
    assert sample("traces_dropped", reason="stopped") - before[1] == 6


async def _is(world: SinkWorld, state: str, count: int) -> bool:
    return await world.in_state(state) == count


async def test_a_collector_that_is_down_for_a_moment_gets_the_traces_later(
    world: SinkWorld, collector: TraceCollector, monkeypatch
):
    monkeypatch.setattr(exporter, "FIRST_PAUSE_SECONDS", 0.05)
    collector.status = 503
    delivery = await add_mail(world, ring=True)
    async with world.dispatcher(timings=SOON, traces_url=collector.url):
        await collector.wait_for(lambda: collector.requests)
        collector.status = 200
        await collector.wait_for(lambda: collector.trace(delivery.hex))

    assert len(collector.requests) >= 2


@pytest.mark.parametrize("fault", ["refused", "egress"])
async def test_what_the_collector_or_the_egress_guard_refuses_is_counted(
    world: SinkWorld, collector: TraceCollector, monkeypatch, fault
):
    monkeypatch.setattr(exporter, "MAX_TRIES", 1)
    reason = {"refused": "refused", "egress": "unavailable"}[fault]
    before = sample("traces_dropped", reason=reason)
    collector.status = 401
    await add_mail(world, ring=True)
    own = {"own_addresses": "127.0.0.1"} if fault == "egress" else {}
    async with world.dispatcher(timings=SOON, traces_url=collector.url, **own):
        if fault == "refused":
            await eventually(lambda: world.in_state("delivered"))
        else:  # the receiver has that address too
            await world.db.execute("UPDATE deliveries SET attempts = 99")
            await eventually(lambda: world.in_state("failed"))
        await eventually(lambda: asyncio.sleep(0, sample("traces_dropped", reason=reason) == before + 1))

    assert len(collector.requests) == (fault == "refused")


async def test_spans_that_the_collector_rejects_are_counted_and_not_sent_again(
    world: SinkWorld, collector: TraceCollector, caplog
):
    before = sample("trace_spans_rejected")
    collector.rejected = 2
    endpoint = await world.endpoint()
    async with world.dispatcher(timings=SOON, traces_url=collector.url):
        for number in range(1, 3):
            await world.add_deliveries(endpoint)
            await eventually(
                lambda n=number: asyncio.sleep(0, sample("trace_spans_rejected") == before + 2 * n)
            )

    assert len(collector.requests) == 2
    assert [record.spans for record in caplog.records if "rejects spans" in record.message] == [2]


async def test_a_cancelled_delivery_has_a_trace_that_ends_with_the_cancellation(
    world: SinkWorld, collector: TraceCollector
):
    cancelled = await add_mail(world)
    await world.db.execute("UPDATE deliveries SET due_at = now() + interval '1 hour'")
    endpoint = await world.db.fetchval("SELECT endpoint_id FROM deliveries")
    counting = replace(SOON, activity_interval=0.1, activity_lag=0.5)
    async with world.dispatcher(timings=counting, traces_url=collector.url):
        [delivered] = await world.add_deliveries(endpoint)
        await collector.wait_for(lambda: collector.trace(delivered.hex))
        async with sessions(world.database_url) as sessionmaker, sessionmaker.begin() as db:
            await replay.cancel_one(db, world.partner_id, cancelled)
        await collector.wait_for(lambda: collector.trace(cancelled.hex))

    spans = {span.name: span for span in collector.trace(cancelled.hex)}
    assert list(spans) == ["mail", "provider", "recording"]
    assert attributes(spans["mail"])["superimap.state"] == "cancelled"
    assert (spans["mail"].status.code, spans["mail"].status.message) == (
        Status.STATUS_CODE_ERROR,
        "cancelled",
    )
    settled = (await world.row(cancelled))["settled_at"]
    assert spans["mail"].end_time_unix_nano == nanoseconds(settled)
    assert len(collector.trace(delivered.hex)) == 3


async def test_without_the_extra_a_dispatcher_says_what_to_install(world: SinkWorld, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("opentelemetry.proto")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.proto", None)
    monkeypatch.delitem(sys.modules, "superimap.dispatcher.tracing.otlp", raising=False)
    monkeypatch.delattr(tracing, "otlp", raising=False)
    [delivery] = await world.add_deliveries(await world.endpoint())

    async with world.dispatcher():
        await eventually(lambda: world.in_state("delivered"))
    with pytest.raises(SettingsError, match=r"pip install 'superimap\[otel\]'"):
        await serve(world.settings(traces_url="http://127.0.0.1:4318/v1/traces"), asyncio.Event())
    assert await world.attempts(delivery)
