"""The idler's life: join the cluster, own shards, watch their users, and hand all over at the end."""

import asyncio
import contextlib
import logging
import socket

import asyncpg
import httpx

from superimap import __version__, runtime
from superimap.backoff import Backoff
from superimap.config import Settings
from superimap.crypto import Vault
from superimap.db import engine
from superimap.db.engine import UNAVAILABLE
from superimap.db.queries import cluster
from superimap.egress import Guard
from superimap.health import Health
from superimap.idler.context import Context
from superimap.idler.doorbell import Doorbell
from superimap.idler.gates import ByteGate
from superimap.idler.ownership import Ownership, StruckOff
from superimap.idler.supervisor import Supervisor
from superimap.idler.timing import Timing
from superimap.imap.types import Limits
from superimap.oauth.http import guarded_client
from superimap.queue import Queue

log = logging.getLogger(__name__)

STOPPING = 25.0
RELEASED_AT_ONCE = 512
STRUCK_OFF_AFTER = 10.0  # heartbeat expiries


async def serve(
    settings: Settings, stop: asyncio.Event, health: Health, *, timing: Timing | None = None
) -> None:
    """Watch until `stop` is set, then end the sessions and give the shards back, within 25 s."""
    async with contextlib.AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            engine.pool(settings.database_url, size=settings.database_pool_size)
        )
        queue = await stack.enter_async_context(Queue(settings.redis_url))
        guard = Guard(settings.allowed_networks)
        http = await stack.enter_async_context(guarded_client(guard))
        async with runtime.until(stop):
            idler = await _join(pool, settings)
        if stop.is_set():
            return
        context = _context(settings, pool, queue, guard, http, idler, timing or Timing())
        supervisor = Supervisor(context)
        doorbell = Doorbell()
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(doorbell.listen(settings.database_url)),
                group.create_task(_beat(context, supervisor)),
                group.create_task(_rounds(context, supervisor, doorbell, health)),
            ]
            await stop.wait()
            health.ready = False
            await _hand_over(context, supervisor, loops)


async def _join(pool: asyncpg.Pool, settings: Settings) -> int:
    """Enter the cluster, however long PostgreSQL takes."""
    backoff = Backoff(first=0.5, longest=5.0)
    while True:
        try:
            return await cluster.join(
                pool, name=socket.gethostname(), version=__version__, capacity=settings.max_sessions
            )
        except UNAVAILABLE as error:
            log.warning("waiting for PostgreSQL: %s", error)
            await asyncio.sleep(backoff.next())


def _context(
    settings: Settings,
    pool: asyncpg.Pool,
    queue: Queue,
    guard: Guard,
    http: httpx.AsyncClient,
    idler: int,
    timing: Timing,
) -> Context:
    return Context(
        settings=settings,
        pool=pool,
        vault=Vault.from_setting(settings.encryption_key.get_secret_value()),
        queue=queue,
        guard=guard,
        http=http,
        ownership=Ownership(
            pool, idler, interval=settings.heartbeat_interval, expiry=settings.heartbeat_expiry
        ),
        bytes_gate=ByteGate(settings.bytes_in_flight),
        connects=asyncio.Semaphore(settings.connects_in_flight),
        limits=Limits(literal=settings.max_email_size + 1024 * 1024),
        timing=timing,
    )


async def _beat(context: Context, supervisor: Supervisor) -> None:
    """Renew the lease for ever. While PostgreSQL is away nobody can take it either."""
    settings = context.settings
    while True:
        try:
            await context.ownership.beat(sessions=supervisor.sessions, capacity=settings.max_sessions)
            await cluster.strike_off(context.pool, after=STRUCK_OFF_AFTER * settings.heartbeat_expiry)
            pause = settings.heartbeat_interval
        except UNAVAILABLE as error:
            log.warning("heartbeat failed: %s", error)
            context.ownership.be_patient()
            pause = min(1.0, settings.heartbeat_interval)
        await asyncio.sleep(pause)


async def _rounds(context: Context, supervisor: Supervisor, doorbell: Doorbell, health: Health) -> None:
    """Reconcile shards and sessions for ever: at once when something rings, and by the clock."""
    backoff = Backoff(first=0.5, longest=context.settings.reconcile_interval)
    shards: frozenset[int] = frozenset()
    is_round = True
    while True:
        try:
            if is_round:
                await context.ownership.reconcile(supervisor.end_shards)
            await supervisor.reconcile(None if is_round else shards)
            health.ready = True
            backoff.reset()
        except UNAVAILABLE as error:
            log.warning("round failed: %s", error)
            context.ownership.be_patient()
            await asyncio.sleep(backoff.next())
            is_round = True
            continue
        shards, is_round = await doorbell.wait(context.settings.reconcile_interval)


async def _hand_over(context: Context, supervisor: Supervisor, loops: list[asyncio.Task[None]]) -> None:
    """End all sessions and give everything back; the heartbeat goes on until that is done."""
    context.ownership.is_stopping = True
    _, beating, rounds = loops
    rounds.cancel()
    await asyncio.gather(rounds, return_exceptions=True)
    with contextlib.suppress(StruckOff, *UNAVAILABLE):
        async with asyncio.timeout(STOPPING):
            await context.ownership.beat(sessions=supervisor.sessions, capacity=context.settings.max_sessions)
            shards = list(context.ownership.epochs)
            for start in range(0, len(shards), RELEASED_AT_ONCE):
                await context.ownership.release(
                    shards[start : start + RELEASED_AT_ONCE], supervisor.end_shards
                )
            beating.cancel()  # a heartbeat after the farewell would find itself struck off
            await asyncio.gather(beating, return_exceptions=True)
            await cluster.leave(context.pool, context.ownership.idler)
            log.info("gave all shards back", extra={"shards": len(shards)})
    beating.cancel()
    loops[0].cancel()
