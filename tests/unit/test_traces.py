"""Spans of a trace, with ids that are computed, and the trace id in log lines."""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from superimap.core.config import Settings
from superimap.core.crypto import generate_key
from superimap.core.log import JsonFormatter
from superimap.core.setting_types import headers_of
from superimap.dispatcher.tracing import otlp
from superimap.domain import traces
from superimap.domain.mail_stages import FoundBy, MailStages
from superimap.domain.traces import StoredAttempt, StoredTrace

NOON = datetime(2026, 9, 21, 12, tzinfo=UTC)
STAGES = MailStages(
    FoundBy.ANNOUNCED,
    received_at=NOON,
    found_at=NOON + timedelta(seconds=1),
    recorded_at=NOON + timedelta(seconds=2),
    first_attempt_at=NOON + timedelta(seconds=3),
    settled_at=NOON + timedelta(seconds=5),
)
LONG_AGO = datetime(1960, 1, 1, tzinfo=UTC)
"""INTERNALDATE of a mail that its owner has imported."""
ATTEMPT = StoredAttempt(uuid.uuid4(), 1, NOON + timedelta(seconds=3), 250, None, "timeout")
TRACE = StoredTrace(uuid.uuid4(), 1, 2, "new_mail", "failed", "GMAIL", 7, STAGES, [ATTEMPT])


def names(trace: StoredTrace) -> list[str]:
    return [span.name for span in traces.spans_of(trace)]


def test_the_same_trace_has_the_same_ids_and_another_one_has_others():
    first, again = traces.spans_of(TRACE), traces.spans_of(TRACE)
    other = traces.spans_of(replace(TRACE, delivery_id=uuid.uuid4(), attempts=[]))

    assert first == again
    assert not {span.id for span in first} & {span.id for span in other}
    assert all(len(span.id) == 8 and any(span.id) for span in first)


def test_a_failed_delivery_has_its_last_error_and_a_failed_attempt_its_own():
    root, *_, attempt = traces.spans_of(TRACE)

    assert (root.error, attempt.error, attempt.attributes["error.type"]) == ("timeout",) * 3
    assert (root.start, root.end) == (NOON, STAGES.settled_at)
    assert attempt.end - attempt.start == timedelta(milliseconds=250)


@pytest.mark.parametrize(
    ("changes", "delay"),
    [
        ({"found_by": FoundBy.CATCH_UP}, 1.0),
        ({"received_at": NOON + timedelta(minutes=1)}, -59.0),
        ({"received_at": LONG_AGO}, (STAGES.found_at - LONG_AGO).total_seconds()),
    ],
)
def test_a_catch_up_a_clock_that_is_ahead_and_an_imported_mail_have_no_span_of_the_provider(changes, delay):
    trace = replace(TRACE, stages=replace(STAGES, **changes))
    root, *children = traces.spans_of(trace)
    request = otlp.encode([trace, TRACE])

    assert TRACE.delivery_id.bytes in request

    assert [span.name for span in children] == ["recording", "sending", "attempt 1"]
    assert root.start == STAGES.found_at
    assert root.attributes["superimap.provider_seconds"] == delay


def test_a_webhook_without_a_mail_begins_with_its_record():
    times = MailStages(None, None, None, recorded_at=NOON, settled_at=NOON + timedelta(seconds=1))
    trace = replace(
        TRACE, kind="user_connected", state="delivered", message_id=None, stages=times, attempts=[]
    )

    assert names(trace) == ["webhook user_connected"]
    (root,) = traces.spans_of(trace)
    assert (root.start, root.end, root.error) == (NOON, NOON + timedelta(seconds=1), None)


def test_a_log_line_about_a_delivery_has_the_id_of_its_trace():
    def line(**fields: object) -> dict[str, object]:
        record = logging.LogRecord("superimap", logging.ERROR, "", 0, "delivery is unreadable", (), None)
        vars(record).update(fields)
        return json.loads(JsonFormatter().format(record))

    delivery = uuid.uuid4()
    assert line(delivery_id=delivery)["trace_id"] == delivery.hex
    assert line(delivery_id=str(delivery))["trace_id"] == delivery.hex
    assert "trace_id" not in line(user_id=7)
    assert "trace_id" not in line(delivery_id="?")


def settings(**given: object) -> Settings:
    urls = {"database_url": "postgresql://h/d", "redis_url": "redis://h"}
    return Settings(**urls, encryption_key=generate_key(), environment="development", **given)


@pytest.mark.parametrize(
    "given",
    [
        {"traces_url": "collector:4318"},
        {"traces_url": "http://collector:4318"},
        {"traces_url": "http://user:secret@collector:4318/v1/traces"},
        {"traces_url": "http://collector:4318/v1/traces?key=secret"},
        {"traces_headers": "Bearer secret"},
        {"traces_headers": "a=secret\r\nhost: x"},
    ],
)
def test_an_address_or_headers_that_cannot_be_used_are_refused_without_showing_a_secret(given):
    with pytest.raises(ValidationError) as refused:
        settings(**given)

    assert "secret" not in str([error["msg"] for error in refused.value.errors()])


def test_headers_are_read_as_pairs():
    given = settings(traces_headers="authorization=Basic dTpw==, x-scope-orgid = mails").traces_headers

    assert headers_of(given) == {"authorization": "Basic dTpw==", "x-scope-orgid": "mails"}
    assert headers_of(None) == {}
