"""The dispatcher: a database pool, a doorbell and an HTTP client, and the loops that use them until a stop."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial

import asyncpg

from superimap.core import runtime
from superimap.core.config import Settings
from superimap.core.content_store import MAX_READ_SECONDS, ContentStore, is_reference
from superimap.core.crypto import Vault
from superimap.core.health import Readiness
from superimap.db import postgres
from superimap.db.delivery import deliveries, endpoints, tracers
from superimap.db.delivery.deliveries import Claims
from superimap.db.delivery.signing_keys import SigningKeyring
from superimap.db.key_usage import counting_seals
from superimap.db.presence import DISPATCHER_LOCK_SPACE, Presence
from superimap.dispatcher import assembly
from superimap.dispatcher.delivery_sender import FinishedAttempt, content_place
from superimap.dispatcher.lanes.runner import DATABASE_ERRORS, LaneCounts, LaneOperations, Lanes
from superimap.dispatcher.settler import AttemptCounts, Settler
from superimap.dispatcher.sweeper import Sweeper
from superimap.dispatcher.timings import DispatcherTimings
from superimap.dispatcher.tracer_sink import TracerSink
from superimap.domain.deliveries import AttemptOutcome
from superimap.domain.tracers import SINK_URL
from superimap.doorbells.redis import EndpointDoorbell


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
        client = await stack.enter_async_context(assembly.webhook_client(settings))
        contents = ContentStore(settings.content_store_url, min_bytes=settings.content_store_min_bytes)
        vault = Vault.from_setting(settings.encryption_key.get_secret_value())
        await stack.enter_async_context(counting_seals(settings.database_url, vault))
        keyring = SigningKeyring(pool, vault)
        sink = await stack.enter_async_context(TracerSink(keyring, deadline=settings.webhook_timeout))
        presence = Presence(DISPATCHER_LOCK_SPACE)
        lease = settings.webhook_timeout + timings.lease_margin
        if settings.content_store_url:
            lease += MAX_READ_SECONDS  # an object is read before the POST
        exporter = await assembly.open_traces(stack, settings, pool, gathering=timings.trace_gathering)
        settler = assembly.settler(settings, pool, counts.attempts, exporter, lease=lease)
        operations = LaneOperations(
            partner_of=partial(endpoints.partner_of, pool),
            claim=_ClaimDeliveries(pool, presence, max_posts=settings.posts_per_endpoint, lease=lease),
            send=assembly.delivery_sender(settings, vault, contents, keyring, pool, client, sink).send,
            settle=partial(_settle, settler, contents, pool),
            ring=doorbell.ring,
        )
        lanes = Lanes(operations, assembly.lane_limits(settings, timings), counts.lanes)
        housekeeping = assembly.housekeeping(settings, timings, pool, exporter)
        sweeper = Sweeper(
            settings.session_url, doorbell, lanes, presence, housekeeping, timings=timings, health=health
        )
        async with asyncio.TaskGroup() as loops:
            settling = loops.create_task(settler.run(), name="settler")
            report = partial(health.set_note, "doorbell worker")
            ringing = doorbell.run(lanes.run_lane, stop, max_lanes=settings.max_lanes, report=report)
            loops.create_task(ringing, name="doorbells")
            loops.create_task(sweeper.run(stop), name="sweeper")
            backlog_watch = assembly.backlog_watch(settings, pool, health, lambda: housekeeping.is_active)
            loops.create_task(backlog_watch.run(stop), name="backlogs")
            keeping = loops.create_task(housekeeping.run(stop), name="housekeeping")
            loops.create_task(runtime.trim_regularly(stop), name="memory")
            await lanes.run(stop, lane_grace=timings.lane_grace, post_grace=timings.post_grace)
            settling.cancel()
            keeping.cancel()


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
