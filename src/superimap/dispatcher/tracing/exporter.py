"""Export of traces: a bounded queue of settled deliveries, and the loop that sends their traces to a collector.

Nothing waits for it. While the collector is slow or down, the queue fills; what does not fit is dropped and
counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from uuid import UUID

import aiohttp
import asyncpg

from superimap.core import metrics
from superimap.core.backoff import Backoff
from superimap.core.certificates import verifying_context
from superimap.core.egress import Guard
from superimap.core.errors import SuperImapError
from superimap.core.runtime import wait_for_stop
from superimap.db.delivery.deliveries import Settlement
from superimap.db.delivery.traces import read_traces
from superimap.db.postgres import UNAVAILABLE
from superimap.domain.deliveries import AttemptOutcome
from superimap.domain.traces import StoredTrace

log = logging.getLogger(__name__)

MAX_QUEUED_TRACES = 10_000
BATCH_TRACES = 50
"""Traces of one request: their encoding takes the event loop some milliseconds."""
MAX_TRIES = 4
"""Tries of a request; then its traces are dropped."""
FIRST_PAUSE_SECONDS = 1.0
"""Longest pause after the first try; each failure doubles it."""
REQUEST_SECONDS = 10.0
FLUSH_SECONDS = 2.0
"""Time for the rest of the queue when the dispatcher stops."""
MAX_ANSWER_BYTES = 64 * 1024
"""Of the answer of a collector, as it is read."""
_RETRYABLE = frozenset({429, 502, 503, 504})  # OTLP 1.5.0, "Failures"

_REPEATABLE = (*UNAVAILABLE, asyncpg.PostgresError, aiohttp.ClientError, OSError, TimeoutError)

Encode = Callable[[Iterable[StoredTrace]], bytes]
RejectedSpans = Callable[[bytes], int]
"""Reads from the answer of a collector how many spans it has rejected."""


class ExportRefused(SuperImapError):
    """The collector refuses a request for good."""


class TraceExporter:
    """Sends the traces of deliveries that this dispatcher has settled. Made by `open_exporter`."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        session: aiohttp.ClientSession,
        url: str,
        encode: Encode,
        rejected_spans: RejectedSpans,
        *,
        gathering: float,
        max_queued: int = MAX_QUEUED_TRACES,
    ) -> None:
        """`gathering` is the time in seconds for which settled deliveries gather."""
        self._pool = pool
        self._session = session
        self._url = url
        self._encode = encode
        self._rejected_spans = rejected_spans
        self._max_queued = max_queued
        self._gathering = gathering
        self._queue: deque[tuple[int, UUID]] = deque()
        self._is_failing = False
        self._is_rejecting = False
        self._is_finishing = asyncio.Event()
        self._limit: asyncio.Timeout | None = None

    def offer(self, settlements: Iterable[Settlement]) -> None:
        """Queue the deliveries that these attempts have settled; drop and count those that do not fit."""
        self.offer_settled(
            (settlement.claim.partner_id, settlement.claim.id)
            for settlement in settlements
            if settlement.outcome is not AttemptOutcome.RETRY
        )

    def offer_settled(self, deliveries: Iterable[tuple[int, UUID]]) -> None:
        """Queue settled deliveries, each by partner and id; drop and count those that do not fit."""
        for delivery in deliveries:
            if len(self._queue) >= self._max_queued:
                metrics.TRACES_DROPPED.labels("queue_full").inc()
            else:
                self._queue.append(delivery)

    async def run(self) -> None:
        """Send traces until `finish` is called; then what is left of the queue, for FLUSH_SECONDS at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as self._limit:
                while not self._is_finishing.is_set():
                    await wait_for_stop(self._is_finishing, self._gathering)
                    await self._drain()
        self._drop(len(self._queue), "stopped")

    def finish(self) -> None:
        """Have `run` return soon. Nothing may be offered any more."""
        self._is_finishing.set()
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + FLUSH_SECONDS)

    async def _drain(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH_TRACES, len(self._queue)))]
            try:
                await self._send(batch)
            except asyncio.CancelledError:
                self._queue.extendleft(reversed(batch))
                raise
            except Exception:  # a fault of tracing must not end what delivers
                log.exception("traces cannot be made")
                self._drop(len(batch), "unreadable")

    async def _send(self, batch: list[tuple[int, UUID]]) -> None:
        """Send the traces of these deliveries, or drop them once that has failed too often."""
        backoff, error = Backoff(first=FIRST_PAUSE_SECONDS, longest=4 * FIRST_PAUSE_SECONDS, least=0.5), ""
        for tries in range(1, MAX_TRIES + 1):
            try:
                found = await read_traces(self._pool, batch)
                rejected = await self._post(gzip.compress(self._encode(found), compresslevel=1))
            except ExportRefused as refusal:
                self._drop(len(batch), "refused")
                self._report(str(refusal))
                return
            except _REPEATABLE as failure:
                error = type(failure).__name__
                if tries < MAX_TRIES:
                    await asyncio.sleep(backoff.next())
            else:
                metrics.TRACES.inc(len(found))
                self._is_failing = False
                self._count_rejected(rejected)
                return
        self._drop(len(batch), "unavailable")
        self._report(error)

    async def _post(self, body: bytes) -> int:
        """POST a request; return how many of its spans are rejected. They may not be sent again (OTLP 1.5.0).

        Raises ExportRefused, or an error after which the request may be repeated.
        """
        async with (
            asyncio.timeout(REQUEST_SECONDS),
            self._session.post(self._url, data=body, allow_redirects=False) as answer,
        ):
            if answer.status in _RETRYABLE:
                raise TimeoutError(f"status {answer.status}")
            if not 200 <= answer.status < 300:
                raise ExportRefused(f"status {answer.status}")
            return self._rejected_spans(await _read_answer(answer))

    def _count_rejected(self, spans: int) -> None:
        """Count rejected spans. Log the first ones without the text of the collector: it may quote a secret."""
        if spans:
            metrics.TRACE_SPANS_REJECTED.inc(spans)
        if spans and not self._is_rejecting:
            log.warning("the collector rejects spans; its own log says why", extra={"spans": spans})
        self._is_rejecting = spans > 0

    def _report(self, error: str) -> None:
        """Log the first failure after a success: one line for an outage."""
        if not self._is_failing:
            log.warning("traces cannot be exported: %s", error)
        self._is_failing = True

    def _drop(self, traces: int, reason: str) -> None:
        if traces:
            metrics.TRACES_DROPPED.labels(reason).inc(traces)


async def _read_answer(answer: aiohttp.ClientResponse) -> bytes:
    """Return the body of an answer, or nothing if it is too large or is cut off: the status has decided."""
    try:
        body = await answer.content.read(MAX_ANSWER_BYTES + 1)
        while len(body) <= MAX_ANSWER_BYTES and (piece := await answer.content.read(MAX_ANSWER_BYTES)):
            body += piece
    except (aiohttp.ClientError, OSError):
        return b""
    return body if len(body) <= MAX_ANSWER_BYTES else b""


@contextlib.asynccontextmanager
async def open_exporter(
    pool: asyncpg.Pool,
    guard: Guard,
    url: str,
    headers: Mapping[str, str],
    *,
    encode: Encode,
    rejected_spans: RejectedSpans,
    content_type: str,
    gathering: float,
) -> AsyncIterator[TraceExporter]:
    """Run an exporter until the end of the block; then the rest of the queue is sent, for FLUSH_SECONDS at most.

    Its sockets pass the egress guard: no redirects, no cookies, no proxy of the environment. `encode` makes a
    request of this content type, and `rejected_spans` reads its answer.
    """
    connector = aiohttp.TCPConnector(ssl=verifying_context(), socket_factory=guard.socket, limit=1)
    sent = {"content-type": content_type, "content-encoding": "gzip", **headers}
    async with aiohttp.ClientSession(
        connector=connector, headers=sent, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    ) as session:
        exporter = TraceExporter(pool, session, url, encode, rejected_spans, gathering=gathering)
        running = asyncio.create_task(exporter.run(), name="traces")
        try:
            yield exporter
        finally:
            exporter.finish()
            await running
