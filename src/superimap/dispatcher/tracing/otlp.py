"""Requests of OTLP (OpenTelemetry protocol 1), made of spans. Needs the extra `otel`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from superimap import __version__
from superimap.domain import traces
from superimap.domain.traces import StoredTrace, TraceSpan

SERVICE_NAME = "superimap"
CONTENT_TYPE = "application/x-protobuf"
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND = timedelta(microseconds=1)


def encode(stored: Iterable[StoredTrace]) -> bytes:
    """Return the request that exports these traces."""
    spans = [_span(trace, span) for trace in stored for span in traces.spans_of(trace)]
    scope = InstrumentationScope(name="superimap", version=__version__)
    resource = Resource(
        attributes=_attributes({"service.name": SERVICE_NAME, "service.version": __version__})
    )
    sent = trace_pb2.ResourceSpans(
        resource=resource, scope_spans=[trace_pb2.ScopeSpans(scope=scope, spans=spans)]
    )
    request: bytes = ExportTraceServiceRequest(resource_spans=[sent]).SerializeToString()
    return request


def rejected_spans(answer: bytes) -> int:
    """Return how many spans of an accepted request the collector has rejected (OTLP 1.5.0, "Partial Success").

    0 if the answer is not one of OTLP: the status has said that the request was accepted.
    """
    try:
        response = ExportTraceServiceResponse.FromString(answer)
    except DecodeError:
        return 0
    return max(0, int(response.partial_success.rejected_spans))


def _span(trace: StoredTrace, span: TraceSpan) -> trace_pb2.Span:
    kind = trace_pb2.Span.SPAN_KIND_CLIENT if span.is_request else trace_pb2.Span.SPAN_KIND_INTERNAL
    failed = trace_pb2.Status(code=trace_pb2.Status.STATUS_CODE_ERROR, message=span.error or "")
    return trace_pb2.Span(
        trace_id=traces.trace_id(trace.delivery_id),
        span_id=span.id,
        parent_span_id=span.parent or b"",
        name=span.name,
        kind=kind,
        start_time_unix_nano=_nanoseconds(span.start),
        end_time_unix_nano=_nanoseconds(span.end),
        attributes=_attributes(span.attributes),
        status=None if span.error is None else failed,
    )


def _nanoseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND * 1000


def _attributes(values: Mapping[str, object]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in values.items()]


def _value(value: object) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
    return AnyValue(string_value=str(value))
