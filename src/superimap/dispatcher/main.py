"""The dispatcher: a database pool, a doorbell and an HTTP client, and the loops that use them until a stop."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial

import asyncpg

from superimap.core import runtime
from superimap.core.config import Settings
from superimap.core.content_store import MAX_READ_SECONDS, ContentStore, is_reference
from superimap.core.crypto import Vault
from superimap.core.egress import WEBHOOK_PORTS_REFUSED, Guard
from superimap.core.environment import SettingsError
from superimap.core.health import Readiness
from superimap.core.setting_types import headers_of
from superimap.db import postgres
from superimap.db.delivery import deliveries, endpoints, tracers
from superimap.db.delivery.deliveries import Claims
from superimap.db.delivery.signing_keys import SigningKeyring
from superimap.db.key_usage import counting_seals
from superimap.db.presence import DISPATCHER_LOCK_SPACE, Presence
from superimap.db.watching import events
from superimap.dispatcher.activity_rollup import ActivityRollup
from superimap.dispatcher.backlog_watch import BacklogWatch
from superimap.dispatcher.cluster_metrics import ClusterMetrics
from superimap.dispatcher.delivery_sender import DeliverySender, FinishedAttempt, content_place
from superimap.dispatcher.housekeeping import Housekeeping
from superimap.dispatcher.lanes.limits import LaneLimits
from superimap.dispatcher.lanes.runner import DATABASE_ERRORS, LaneCounts, LaneOperations, Lanes
from superimap.dispatcher.purges import Purges, Retention
from superimap.dispatcher.settler import AttemptCounts, Settler
from superimap.dispatcher.sweeper import Sweeper
from superimap.dispatcher.timings import DispatcherTimings
from superimap.dispatcher.tracer_sink import TracerSink
from superimap.dispatcher.tracing.exporter import TraceExporter, open_exporter
from superimap.dispatcher.webhook_client import WebhookClient, open_client
from superimap.domain.deliveries import AttemptOutcome
from superimap.domain.tracers import SINK_URL
from superimap.doorbells.redis import EndpointDoorbell
from superimap.oauth import links


@dataclass(frozen=True, slots=True)
class DispatcherCounts:
    """What this dispatcher has done since its start, and what is in progress."""

    lanes: LaneCounts = field(default_factory=LaneCounts)
    attempts: AttemptCounts = field(default_factory=AttemptCounts)


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    *,
    counts: DispatcherCounts | None = None,
    timings: DispatcherTimings | None = None,
    health: Readiness | None = None,
) -> None:
    """Send due deliveries until `stop`. Everything is closed on return, within 25 seconds of the stop.

    PostgreSQL and Redis may be unreachable, also at the start: connecting is retried.
    """
    health = health or Readiness()
    counts, timings = counts or DispatcherCounts(), timings or DispatcherTimings()
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            postgres.pool(settings.database_url, size=settings.database_pool_size)
        )
        doorbell = await stack.enter_async_context(EndpointDoorbell(settings.redis_url))
        client = await stack.enter_async_context(_open_client(settings))
        contents = ContentStore(settings.content_store_url, min_bytes=settings.content_store_min_bytes)
        vault = Vault.from_setting(settings.encryption_key.get_secret_value())
        await stack.enter_async_context(counting_seals(settings.database_url, vault))
        keyring = SigningKeyring(pool, vault)
        sink = await stack.enter_async_context(TracerSink(keyring, deadline=settings.webhook_timeout))
        presence = Presence(DISPATCHER_LOCK_SPACE)
        lease = settings.webhook_timeout + timings.lease_margin
        if settings.content_store_url:
            lease += MAX_READ_SECONDS  # an object is read before the POST
        exporter = await _open_exporter(stack, settings, pool, gathering=timings.trace_gathering)
        settler = _settler(settings, pool, counts.attempts, exporter, lease=lease)
        operations = LaneOperations(
            partner_of=partial(endpoints.partner_of, pool),
            claim=_ClaimDeliveries(pool, presence, max_posts=settings.posts_per_endpoint, lease=lease),
            send=_delivery_sender(settings, vault, contents, keyring, pool, client, sink).send,
            settle=partial(_settle, settler, contents, pool),
            ring=doorbell.ring,
        )
        lanes = Lanes(operations, _lane_limits(settings, timings), counts.lanes)
        housekeeping = _housekeeping(settings, timings, pool, exporter)
        sweeper = Sweeper(
            settings.session_url, doorbell, lanes, presence, housekeeping, timings=timings, health=health
        )
        async with asyncio.TaskGroup() as loops:
            settling = loops.create_task(settler.run(), name="settler")
            report = partial(health.set_note, "doorbell worker")
            ringing = doorbell.run(lanes.run_lane, stop, max_lanes=settings.max_lanes, report=report)
            loops.create_task(ringing, name="doorbells")
            loops.create_task(sweeper.run(stop), name="sweeper")
            backlog_watch = _backlog_watch(settings, pool, health, lambda: housekeeping.is_active)
            loops.create_task(backlog_watch.run(stop), name="backlogs")
            keeping = loops.create_task(housekeeping.run(stop), name="housekeeping")
            loops.create_task(runtime.trim_regularly(stop), name="memory")
            await lanes.run(stop, lane_grace=timings.lane_grace, post_grace=timings.post_grace)
            settling.cancel()
            keeping.cancel()


def _settler(
    settings: Settings,
    pool: asyncpg.Pool,
    counts: AttemptCounts,
    exporter: TraceExporter | None,
    *,
    lease: float,
) -> Settler:
    return Settler(
        pool,
        counts,
        lease=lease,
        max_posts=settings.posts_per_endpoint,
        keep_failed=settings.content_retention_days > 0,
        when_recorded=exporter.offer if exporter else None,
    )


async def _open_exporter(
    stack: AsyncExitStack, settings: Settings, pool: asyncpg.Pool, *, gathering: float
) -> TraceExporter | None:
    """Open the exporter of traces; None without TRACES_URL. Raises SettingsError without the extra `otel`."""
    if not settings.traces_url:
        return None
    try:
        from superimap.dispatcher.tracing import otlp  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise SettingsError(
            f"TRACES_URL needs the extra otel: pip install 'superimap[otel]' ({error})"
        ) from None
    guard = Guard(settings.allowed_networks, own=settings.own_addresses, refused_ports=WEBHOOK_PORTS_REFUSED)
    opened = open_exporter(
        pool,
        guard,
        settings.traces_url,
        headers_of(settings.traces_headers),
        encode=otlp.encode,
        rejected_spans=otlp.rejected_spans,
        content_type=otlp.CONTENT_TYPE,
        gathering=gathering,
    )
    return await stack.enter_async_context(opened)


def _backlog_watch(
    settings: Settings, pool: asyncpg.Pool, health: Readiness, is_active: Callable[[], bool]
) -> BacklogWatch:
    return BacklogWatch(
        pool,
        max_rows=settings.quota_backlog_rows,
        max_bytes=settings.quota_backlog_bytes,
        is_active=is_active,
        report=partial(health.set_fault, "lanes"),
    )


def _open_client(settings: Settings) -> contextlib.AbstractAsyncContextManager[WebhookClient]:
    guard = Guard(settings.allowed_networks, own=settings.own_addresses, refused_ports=WEBHOOK_PORTS_REFUSED)
    return open_client(guard, deadline=settings.webhook_timeout, max_lookups=settings.max_lanes)


def _lane_limits(settings: Settings, timings: DispatcherTimings) -> LaneLimits:
    return LaneLimits(
        max_lanes=settings.max_lanes,
        posts_per_endpoint=settings.posts_per_endpoint,
        budget_seconds=timings.lane_budget,
    )


def _delivery_sender(
    settings: Settings,
    vault: Vault,
    contents: ContentStore,
    keyring: SigningKeyring,
    pool: asyncpg.Pool,
    client: WebhookClient,
    sink: TracerSink,
) -> DeliverySender:
    return DeliverySender(
        vault,
        keyring,
        client,
        sink,
        contents,
        load_event=partial(events.load, pool),
        connect_url=_connect_links(settings),
    )


async def _settle(
    settler: Settler, contents: ContentStore, pool: asyncpg.Pool, attempt: FinishedAttempt
) -> None:
    """Record an attempt; once its success is recorded, its content is not needed any more."""
    claim, ended = attempt.settlement.claim, time.monotonic()
    is_recorded = await settler.settle(attempt)
    if not is_recorded or attempt.settlement.outcome is not AttemptOutcome.DELIVERED:
        return
    if claim.content is not None and is_reference(claim.content):
        await contents.delete(claim.content, content_place(claim))
    if claim.url == SINK_URL:
        with contextlib.suppress(
            *DATABASE_ERRORS
        ):  # the tracer shows that it has arrived, without these moments
            await tracers.record_delivery(pool, attempt.settlement, ended=ended)


def _connect_links(settings: Settings) -> Callable[[int, float], str | None]:
    """A function that makes the links that events carry, or None without BASE_URL.

    The dispatcher answers no requests from which it could learn its own address.
    """
    key, base = links.derive_keys(settings.encryption_key.get_secret_value())[0], settings.base_url

    def connect_url(user_id: int, now: float) -> str | None:
        return links.url(base, links.Purpose.CONNECT, user_id, key, now=now) if base else None

    return connect_url


def _housekeeping(
    settings: Settings, timings: DispatcherTimings, pool: asyncpg.Pool, exporter: TraceExporter | None
) -> Housekeeping:
    retention = Retention(
        content_days=settings.content_retention_days,
        disabled_days=settings.disabled_retention_days,
        row_days=settings.message_retention_days,
    )
    return Housekeeping(
        pool,
        ClusterMetrics(
            expiry=settings.heartbeat_expiry,
            interval=timings.cluster_metrics_interval,
            sends_tracers=settings.tracer_interval > 0 and settings.num_tracers > 0,
        ),
        Purges(retention, interval=timings.purge_interval),
        ActivityRollup(
            expiry=settings.heartbeat_expiry,
            interval=timings.activity_interval,
            retention_interval=timings.purge_interval,
            lag=timings.activity_lag,
            when_cancelled=exporter.offer_settled if exporter else None,
        ),
        timings=timings,
        stalled_after=settings.stalled_after,
    )


class _ClaimDeliveries:
    """`deliveries.claim` with the arguments that are the same for every claim."""

    def __init__(self, pool: asyncpg.Pool, presence: Presence, *, max_posts: int, lease: float) -> None:
        self._pool = pool
        self._presence = presence
        self._max_posts = max_posts
        self._lease = lease

    async def __call__(
        self, endpoint_id: int, *, limit: int, token: uuid.UUID, include_unhealthy: bool
    ) -> Claims:
        return await deliveries.claim(
            self._pool,
            endpoint_id,
            limit=limit,
            max_posts=self._max_posts,
            lease=self._lease,
            token=token,
            holder=self._presence.number,
            include_unhealthy=include_unhealthy,
        )
