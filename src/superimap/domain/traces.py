"""Traces of mails: spans computed from stored times, with ids that are computed too. Pure.

The trace of a delivery has the delivery's UUID as its id, which is the `webhook-id` without `msg_`. Ids of spans
are parts of stored ids or of digests, so that a span can be named before it is exported, and is the same if the
trace is exported again. No attribute names a person, a mail or a URL.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from superimap.domain.deliveries import DeliveryState
from superimap.domain.events import EventKind
from superimap.domain.mail_stages import MAX_PROVIDER_SECONDS, FoundBy, MailStages

Attributes = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class StoredAttempt:
    """An attempt as it is stored; `error` is one word."""

    id: UUID
    number: int
    started_at: datetime
    milliseconds: int
    code: int | None
    error: str | None

    @property
    def is_success(self) -> bool:
        """Whether the answer was a 2xx."""
        return self.code is not None and 200 <= self.code < 300


@dataclass(frozen=True, slots=True)
class StoredTrace:
    """What is stored of a settled delivery and its mail. `attempts` are in the order of time."""

    delivery_id: UUID
    partner_id: int
    endpoint_id: int
    kind: str
    state: str
    provider: str | None
    message_id: int | None
    stages: MailStages
    attempts: Sequence[StoredAttempt]


@dataclass(frozen=True, slots=True)
class TraceSpan:
    """A span of a trace. `parent` is None for the root. `error` is a word; None if the span succeeded."""

    id: bytes
    parent: bytes | None
    name: str
    start: datetime
    end: datetime
    error: str | None = None
    is_request: bool = False
    attributes: Attributes = field(default_factory=dict)


def trace_id(delivery_id: UUID) -> bytes:
    """Return the id of the trace of a delivery: 16 bytes."""
    return delivery_id.bytes


def attempt_span_id(attempt_id: UUID) -> bytes:
    """Return the id of the span of an attempt: the last 8 bytes of its own, which are not zero in a UUID."""
    return attempt_id.bytes[8:]


def traceparent(delivery_id: UUID, attempt_id: UUID) -> str:
    """Return the header by which the receiver continues the trace in the attempt's span (W3C Trace Context).

    The trace is always marked as sampled: a receiver may leave that to its callers.
    """
    return f"00-{delivery_id.hex}-{attempt_span_id(attempt_id).hex()}-01"


def spans_of(trace: StoredTrace) -> list[TraceSpan]:
    """Return the spans of a trace, the root first, and the stages in the order of time."""
    root_id = _stage_id(trace, "root")
    children = [*_stage_spans(trace, root_id), *_attempt_spans(trace, root_id)]
    ends = [each.end for each in children]
    if trace.stages.settled_at is not None:
        ends.append(trace.stages.settled_at)
    start = min([trace.stages.recorded_at, *(each.start for each in children)])
    last_error = trace.attempts[-1].error if trace.attempts else None
    is_delivered = trace.state == DeliveryState.DELIVERED
    root = TraceSpan(
        root_id,
        None,
        "mail" if trace.kind == EventKind.NEW_MAIL else f"webhook {trace.kind}",
        start,
        max([start, *ends]),
        None if is_delivered else last_error or trace.state,
        attributes=_root_attributes(trace),
    )
    return [root, *children]


def _root_attributes(trace: StoredTrace) -> Attributes:
    stages = trace.stages
    known: dict[str, str | int | float | None] = {
        "superimap.webhook_id": f"msg_{trace.delivery_id.hex}",
        "superimap.kind": trace.kind,
        "superimap.state": trace.state,
        "superimap.partner_id": trace.partner_id,
        "superimap.endpoint_id": trace.endpoint_id,
        "superimap.provider": trace.provider,
        "superimap.message_id": trace.message_id,
        "superimap.attempts": len(trace.attempts),
        "superimap.found_by": stages.found_by,
        "superimap.provider_seconds": stages.provider_seconds,
    }
    return {name: value for name, value in known.items() if value is not None}


def _stage_spans(trace: StoredTrace, root_id: bytes) -> Iterator[TraceSpan]:
    """The stages before the first attempt.

    The provider has a span only if a session watched the mailbox, its clock is not ahead, and INTERNALDATE is not
    older than MAX_PROVIDER_SECONDS, because OTLP has no times before 1970. Its delay is an attribute of the root.
    """
    times = trace.stages
    delay = times.provider_seconds
    is_near = delay is not None and 0 <= delay <= MAX_PROVIDER_SECONDS
    is_known = is_near and times.found_by not in (FoundBy.CATCH_UP, FoundBy.SWEEP)
    stages = (
        ("provider", times.received_at if is_known else None, times.found_at),
        ("recording", times.found_at, times.recorded_at),
        ("sending", times.recorded_at, times.first_attempt_at),
    )
    for name, start, end in stages:
        if start is not None and end is not None:
            yield TraceSpan(_stage_id(trace, name), root_id, name, start, max(start, end))


def _attempt_spans(trace: StoredTrace, root_id: bytes) -> Iterator[TraceSpan]:
    for attempt in trace.attempts:
        attributes: dict[str, str | int | float | bool] = {
            "superimap.attempt": attempt.number,
            "http.request.method": "POST",
        }
        if attempt.number > 1:
            attributes["http.request.resend_count"] = attempt.number - 1
        if attempt.code is not None:
            attributes["http.response.status_code"] = attempt.code
        error = None if attempt.is_success else attempt.error or str(attempt.code)
        if error is not None:
            attributes["error.type"] = error
        end = attempt.started_at + timedelta(milliseconds=attempt.milliseconds)
        name = f"attempt {attempt.number}"
        span_id = attempt_span_id(attempt.id)
        yield TraceSpan(
            span_id, root_id, name, attempt.started_at, end, error, is_request=True, attributes=attributes
        )


def _stage_id(trace: StoredTrace, name: str) -> bytes:
    return hashlib.sha256(trace.delivery_id.bytes + name.encode()).digest()[:8]
