"""Main function of the idler: join the cluster, own shards, watch their users, and hand over at the end."""

import asyncio
import contextlib
import logging
import socket
from functools import partial

import asyncpg

from superimap import __version__
from superimap.core import metrics, runtime
from superimap.core.backoff import Backoff
from superimap.core.config import Settings
from superimap.core.content_store import ContentStore
from superimap.core.crypto import Vault
from superimap.core.egress import Guard
from superimap.core.health import Readiness
from superimap.core.resolver import Resolver
from superimap.db import postgres
from superimap.db.failures import UNAVAILABLE, explain
from superimap.db.key_usage import counting_seals
from superimap.db.watching import ownership as cluster
from superimap.doorbells.postgres import IdlerDoorbell
from superimap.doorbells.redis import EndpointDoorbell
from superimap.idler import big_mails
from superimap.idler.access_tokens import AccessTokens
from superimap.idler.context import IdlerContext
from superimap.idler.limits import ByteLimits, LoginLimiter
from superimap.idler.liveness import LivenessProofs
from superimap.idler.open_watches import OpenWatches
from superimap.idler.ownership import Ownership, RemovedFromCluster
from superimap.idler.peers import Peers
from superimap.idler.presence import PresenceKeeper
from superimap.idler.session import UserSession
from superimap.idler.supervisor import Supervisor
from superimap.idler.sweep_job import SweepJob
from superimap.idler.timing import LONGEST_POLL_SECONDS, SessionTiming
from superimap.idler.tracer_job import TracerJob
from superimap.idler.vouching import Vouching
from superimap.imap.types import Limits
from superimap.mail import tracer
from superimap.oauth.http_client import guarded_client

log = logging.getLogger(__name__)

HAND_OVER_SECONDS = 20.0
"""Time for handing over all shards when the process stops."""
CLOSE_SECONDS = 3.0
"""Longest time to close all sessions together: LOGOUT takes up to 2 s, the socket 1 s."""
MAX_ROUND_PAUSE_SECONDS = 2.0
"""Longest pause between rounds that fail while PostgreSQL is unreachable."""
LEASE_CONNECTIONS = 2
"""Database connections for heartbeats and rounds, which must not queue behind the statements of sessions."""


async def serve(
    settings: Settings, stop: asyncio.Event, health: Readiness, *, timing: SessionTiming | None = None
) -> None:
    """Watch users until `stop` is set, then end the sessions and hand the shards over, within 25 s."""
    big_mails.shorten_thread_switches()
    async with contextlib.AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            postgres.pool(settings.database_url, size=settings.database_pool_size, name="sessions")
        )
        lease = await stack.enter_async_context(
            postgres.pool(settings.database_url, size=LEASE_CONNECTIONS, name="leases")
        )
        queue = await stack.enter_async_context(EndpointDoorbell(settings.redis_url))
        guard = Guard(settings.allowed_networks, own=settings.own_addresses)
        http = await stack.enter_async_context(guarded_client(guard))
        vault = Vault.from_setting(settings.encryption_key.get_secret_value())
        await stack.enter_async_context(counting_seals(settings.database_url, vault))
        # A limiter of its own: an unresponsive token endpoint delays no login.
        token_requests = _login_limiter(settings)
        tokens = await stack.enter_async_context(
            AccessTokens(pool, vault, http, request_slot=token_requests.slot)
        )
        async with runtime.cancel_when(stop):
            idler = await _join(lease, settings)
        if stop.is_set():
            return
        watches = OpenWatches()
        ownership = _ownership(lease, idler, settings, watches)
        timing = timing or SessionTiming()
        context = _context(settings, pool, vault, queue, guard, tokens, ownership, watches, timing)
        doorbell = IdlerDoorbell(idler)
        presence = _presence(settings, lease, idler, doorbell)
        supervisor = Supervisor(
            lambda user, version: UserSession(context, user, version).run(),
            max_sessions=settings.max_sessions,
            ring=doorbell.ring,
        )
        stack.push_async_callback(_close, supervisor)
        report, interval = partial(health.set_fault, "sessions"), settings.reconcile_interval
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(_renew_lease(ownership, supervisor, health, settings.heartbeat_interval)),
                group.create_task(_reconcile(ownership, supervisor, doorbell, health, interval)),
            ]
            lasting = (
                presence.run(),
                runtime.manage_memory(_count_established),
                runtime.trim_regularly(stop),
                _vouching(context).run(),
                TracerJob(context).run(),
                SweepJob(context, doorbell.sweeps).run(),
                context.protocol_logs.run(pool, context.liveness, ownership, every=interval),
                context.holds.refresh_periodically(pool, every=interval, report=report),
            )
            tasks = [group.create_task(each) for each in lasting]
            await stop.wait()
            health.ready = False
            await _hand_over(ownership, supervisor, loops)
            for task in tasks:
                task.cancel()


def _count_established() -> float:
    """Return the number of established sessions."""
    (metric,) = metrics.SESSIONS_WATCHING.collect()
    return sum(sample.value for sample in metric.samples)


async def _join(pool: asyncpg.Pool, settings: Settings) -> int:
    """Join the cluster and return the id of this idler; wait while PostgreSQL is unreachable."""
    backoff = Backoff(first=0.5, longest=5.0)
    while True:
        try:
            return await cluster.join(
                pool,
                name=socket.gethostname(),
                version=__version__,
                capacity=settings.max_sessions,
                health_port=settings.health_port or None,
            )
        except UNAVAILABLE as error:
            log.warning("waiting for PostgreSQL: %s", error)
            await asyncio.sleep(backoff.next())


def _ownership(pool: asyncpg.Pool, idler: int, settings: Settings, watches: OpenWatches) -> Ownership:
    return Ownership(
        pool,
        idler,
        interval=settings.heartbeat_interval,
        expiry=settings.heartbeat_expiry,
        login_rate=settings.logins_per_second,
        watches=watches,
    )


def _presence(settings: Settings, pool: asyncpg.Pool, idler: int, doorbell: IdlerDoorbell) -> PresenceKeeper:
    """The keeper of this idler's presence, on whose connection the doorbell listens."""
    return PresenceKeeper(
        settings.session_url,
        pool,
        idler,
        interval=settings.heartbeat_interval,
        on_connected=doorbell.listen_on,
    )


def _context(
    settings: Settings,
    pool: asyncpg.Pool,
    vault: Vault,
    queue: EndpointDoorbell,
    guard: Guard,
    tokens: AccessTokens,
    ownership: Ownership,
    watches: OpenWatches,
    timing: SessionTiming,
) -> IdlerContext:
    byte_limits = ByteLimits(settings.bytes_in_flight)
    return IdlerContext(
        settings=settings,
        pool=pool,
        vault=vault,
        contents=ContentStore(settings.content_store_url, min_bytes=settings.content_store_min_bytes),
        queue=queue,
        guard=guard,
        tokens=tokens,
        ownership=ownership,
        liveness=LivenessProofs(),
        watches=watches,
        byte_limits=byte_limits,
        peers=Peers(Resolver(), byte_limits),
        logins=_login_limiter(settings),
        limits=Limits(literal=settings.max_email_size + 1024 * 1024),
        timing=timing,
        tracer_keys=tracer.derive_keys(settings.encryption_key.get_secret_value()),
    )


def _vouching(context: IdlerContext) -> Vouching:
    """Return the reporter of proofs of life. Its vouches outlast the silence of a session that is well."""
    timing = context.timing
    return Vouching(
        context.pool,
        context.liveness,
        context.ownership,
        context.watches,
        interval=timing.proof_interval,
        longest_silence=max(context.settings.idle_renew, LONGEST_POLL_SECONDS) + timing.timeouts.done,
    )


def _login_limiter(settings: Settings) -> LoginLimiter:
    return LoginLimiter(rate=settings.logins_per_second, at_once=settings.connects_in_flight)


async def _renew_lease(
    ownership: Ownership, supervisor: Supervisor, health: Readiness, interval: float
) -> None:
    """Renew the lease until cancelled. While PostgreSQL is unreachable, no other idler can take it over."""
    while True:
        try:
            await ownership.renew_lease(supervisor)
            pause = interval
            health.set_fault("heartbeat", None)
        except UNAVAILABLE as error:
            log.warning("heartbeat failed: %s", error)
            health.set_fault("heartbeat", explain(error))
            ownership.delay_takeovers()
            pause = min(1.0, interval)
        await asyncio.sleep(pause)


async def _reconcile(
    ownership: Ownership, supervisor: Supervisor, doorbell: IdlerDoorbell, health: Readiness, interval: float
) -> None:
    """Reconcile shards and sessions until cancelled: at once when a doorbell rings, and by the clock."""
    loop = asyncio.get_running_loop()
    backoff = Backoff(first=0.5, longest=min(MAX_ROUND_PAUSE_SECONDS, interval))
    shards: frozenset[int] = frozenset()
    is_round, due, began = True, 0.0, 0.0
    while True:
        try:
            with metrics.ROUND_SECONDS.time():
                if is_round:
                    began = loop.time()
                    due = loop.time() + min(interval, await ownership.reconcile(supervisor))
                else:
                    await ownership.refresh(supervisor, shards)
            health.ready = True
            health.set_fault("round", None)
            backoff.reset()
        except UNAVAILABLE as error:
            log.warning("round failed: %s", error)
            health.set_fault("round", explain(error))
            ownership.delay_takeovers()
            await asyncio.sleep(backoff.next())
            is_round = True
            continue
        shards, is_round = await doorbell.wait(due)
        if is_round and (early := began + ownership.round_pause - loop.time()) > 0:
            await asyncio.sleep(early)
            await doorbell.wait(loop.time())  # the round answers what has rung meanwhile as well


async def _hand_over(ownership: Ownership, supervisor: Supervisor, loops: list[asyncio.Task[None]]) -> None:
    """End all sessions and hand over all shards. The heartbeat continues until that is done."""
    beating, rounds = loops
    rounds.cancel()
    await asyncio.gather(rounds, return_exceptions=True)
    with contextlib.suppress(RemovedFromCluster, *UNAVAILABLE):
        async with asyncio.timeout(HAND_OVER_SECONDS):
            await ownership.hand_everything_over(
                supervisor, within=HAND_OVER_SECONDS, longest_close=CLOSE_SECONDS
            )
            beating.cancel()  # a heartbeat after `leave` would find no row
            await asyncio.gather(beating, return_exceptions=True)
            await ownership.leave()
            log.info("handed over all shards")
    beating.cancel()


async def _close(supervisor: Supervisor) -> None:
    """End the sessions that remain after the hand-over, or after a fault."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await supervisor.close()
