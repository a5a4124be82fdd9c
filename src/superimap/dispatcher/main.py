"""What is a dispatcher? A pool, a queue and a sender, and the loops that keep them busy until a stop."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

import asyncpg

from superimap.core.config import Settings
from superimap.core.crypto import Vault
from superimap.core.egress import WEBHOOK_PORTS_REFUSED, Guard
from superimap.db import postgres
from superimap.db.delivery import deliveries, endpoints
from superimap.db.delivery.deliveries import Claims
from superimap.db.delivery.signing_keys import SigningKeyring
from superimap.db.watching import events
from superimap.dispatcher.cluster_metrics import ClusterMetrics
from superimap.dispatcher.delivery_sender import DeliverySender
from superimap.dispatcher.lanes.runner import LaneOperations, Lanes
from superimap.dispatcher.presence import Presence
from superimap.dispatcher.settler import Settler
from superimap.dispatcher.stats import Stats
from superimap.dispatcher.sweeper import Retention, Sweeper
from superimap.dispatcher.timings import DispatcherTimings
from superimap.dispatcher.webhook_client import open_client
from superimap.doorbells.redis import EndpointDoorbell
from superimap.oauth import links


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    *,
    stats: Stats | None = None,
    pace: DispatcherTimings | None = None,
) -> None:
    """Deliver what is owed until `stop`; everything is closed on return, within 25 seconds of it.

    PostgreSQL and Redis may be away, also at the start: they are tried again.
    """
    stats, pace = stats or Stats(), pace or DispatcherTimings()
    guard = Guard(settings.allowed_networks, own=settings.own_addresses, refused_ports=WEBHOOK_PORTS_REFUSED)
    lease = settings.webhook_timeout + pace.lease_margin
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            postgres.pool(settings.database_url, size=settings.database_pool_size)
        )
        queue = await stack.enter_async_context(EndpointDoorbell(settings.redis_url))
        post = await stack.enter_async_context(
            open_client(guard, deadline=settings.webhook_timeout, names=settings.max_lanes)
        )
        vault = Vault.from_setting(settings.encryption_key.get_secret_value())
        courier = DeliverySender(
            vault,
            SigningKeyring(pool, vault),
            post,
            events=partial(events.load, pool),
            connect_url=_linker(settings),
        )
        settler = Settler(
            pool,
            stats,
            patience=lease,
            cap=settings.posts_per_endpoint,
            keep_failed=settings.content_retention_days > 0,
        )
        presence = Presence()
        trade = LaneOperations(
            partner_of=partial(endpoints.partner_of, pool),
            claim=_Claimer(pool, presence, cap=settings.posts_per_endpoint, lease=lease),
            deliver=courier.deliver,
            settle=settler.settle,
            ring=queue.ring,
            posts_per_endpoint=settings.posts_per_endpoint,
            budget=pace.lane_budget,
        )
        lanes = Lanes(trade, stats, max_lanes=settings.max_lanes)
        retention = Retention(settings.content_retention_days, settings.message_retention_days)
        lookout = ClusterMetrics(expiry=settings.heartbeat_expiry, every=pace.look)
        sweeper = Sweeper(
            settings.database_url,
            queue,
            lanes,
            presence,
            lookout,
            pace=pace,
            retention=retention,
            stalled_after=settings.stalled_after,
        )
        async with asyncio.TaskGroup() as loops:
            settling = loops.create_task(settler.run(), name="settler")
            loops.create_task(queue.run(lanes.attend, stop, max_lanes=settings.max_lanes), name="doorbells")
            loops.create_task(sweeper.run(stop), name="sweeper")
            await lanes.run(stop, grace=pace.post_grace, settle_grace=pace.settle_grace)
            settling.cancel()


def _linker(settings: Settings) -> Callable[[int, float], str | None]:
    """Makes the links that events carry. No request tells us our address, so without BASE_URL there are none."""
    key, base = links.derive_keys(settings.encryption_key.get_secret_value())[0], settings.base_url

    def connect_url(user_id: int, now: float) -> str | None:
        return links.url(base, links.Purpose.CONNECT, user_id, key, now=now) if base else None

    return connect_url


class _Claimer:
    """`deliveries.claim` with all that never changes filled in."""

    def __init__(self, pool: asyncpg.Pool, presence: Presence, *, cap: int, lease: float) -> None:
        self._pool = pool
        self._presence = presence
        self._cap = cap
        self._lease = lease

    async def __call__(self, endpoint_id: int, *, limit: int, token: uuid.UUID, also_ailing: bool) -> Claims:
        return await deliveries.claim(
            self._pool,
            endpoint_id,
            limit=limit,
            cap=self._cap,
            lease=self._lease,
            token=token,
            holder=self._presence.number,
            also_ailing=also_ailing,
        )
