"""Parts of the dispatcher, made of its settings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

import asyncpg

from superimap.core.config import Settings
from superimap.core.content_store import ContentStore
from superimap.core.crypto import Vault
from superimap.core.egress import WEBHOOK_PORTS_REFUSED, Guard
from superimap.core.environment import SettingsError
from superimap.core.health import Readiness
from superimap.core.setting_types import headers_of
from superimap.db.delivery.signing_keys import SigningKeyring
from superimap.db.watching import events
from superimap.dispatcher.activity_rollup import ActivityRollup
from superimap.dispatcher.backlog_watch import BacklogWatch
from superimap.dispatcher.cluster_metrics import ClusterMetrics
from superimap.dispatcher.delivery_sender import DeliverySender
from superimap.dispatcher.housekeeping import Housekeeping
from superimap.dispatcher.lanes.limits import LaneLimits
from superimap.dispatcher.purges import Purges, Retention
from superimap.dispatcher.settler import AttemptCounts, Settler
from superimap.dispatcher.timings import DispatcherTimings
from superimap.dispatcher.tracer_sink import TracerSink
from superimap.dispatcher.tracing.exporter import TraceExporter, open_exporter
from superimap.dispatcher.webhook_client import WebhookClient, open_client
from superimap.oauth import links


def settler(
    settings: Settings,
    pool: asyncpg.Pool,
    counts: AttemptCounts,
    exporter: TraceExporter | None,
    *,
    lease: float,
) -> Settler:
    """Return the settler, which offers recorded attempts to the exporter of traces."""
    return Settler(
        pool,
        counts,
        lease=lease,
        max_posts=settings.posts_per_endpoint,
        keep_failed=settings.content_retention_days > 0,
        when_recorded=exporter.offer if exporter else None,
    )


async def open_traces(
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


def backlog_watch(
    settings: Settings, pool: asyncpg.Pool, health: Readiness, is_active: Callable[[], bool]
) -> BacklogWatch:
    """Return the watch of the backlogs of partners; it works while `is_active`."""
    return BacklogWatch(
        pool,
        max_rows=settings.quota_backlog_rows,
        max_bytes=settings.quota_backlog_bytes,
        is_active=is_active,
        report=partial(health.set_fault, "lanes"),
    )


def webhook_client(settings: Settings) -> contextlib.AbstractAsyncContextManager[WebhookClient]:
    """Return the HTTP client of webhooks, behind a guard of addresses."""
    guard = Guard(settings.allowed_networks, own=settings.own_addresses, refused_ports=WEBHOOK_PORTS_REFUSED)
    return open_client(guard, deadline=settings.webhook_timeout, max_lookups=settings.max_lanes)


def lane_limits(settings: Settings, timings: DispatcherTimings) -> LaneLimits:
    """Return the limits of lanes."""
    return LaneLimits(
        max_lanes=settings.max_lanes,
        posts_per_endpoint=settings.posts_per_endpoint,
        budget_seconds=timings.lane_budget,
    )


def delivery_sender(
    settings: Settings,
    vault: Vault,
    contents: ContentStore,
    keyring: SigningKeyring,
    pool: asyncpg.Pool,
    client: WebhookClient,
    sink: TracerSink,
) -> DeliverySender:
    """Return the sender of deliveries."""
    return DeliverySender(
        vault,
        keyring,
        client,
        sink,
        contents,
        load_event=partial(events.load, pool),
        connect_url=_connect_links(settings),
    )


def _connect_links(settings: Settings) -> Callable[[int, float], str | None]:
    """A function that makes the links that events carry, or None without BASE_URL.

    The dispatcher answers no requests from which it could learn its own address.
    """
    key, base = links.derive_keys(settings.encryption_key.get_secret_value())[0], settings.base_url

    def connect_url(user_id: int, now: float) -> str | None:
        return links.url(base, links.Purpose.CONNECT, user_id, key, now=now) if base else None

    return connect_url


def housekeeping(
    settings: Settings, timings: DispatcherTimings, pool: asyncpg.Pool, exporter: TraceExporter | None
) -> Housekeeping:
    """Return what the dispatcher that sweeps does besides."""
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
