"""The benchmark `sweep`: a sweep of one mailbox while live mail arrives in all, also while processes are killed.

The latency of live mail is measured without a sweep and during one. With `kills`, idler, dispatcher and API are
killed (SIGKILL) that often meanwhile, and every mail must have exactly one delivery.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack
from typing import Any

from benchmarks import mail_source, processes, receiver
from benchmarks.mail import PROVIDER, WAIT_SECONDS, create_users, wait_for_webhooks
from benchmarks.mail_source import ImapServerSource
from benchmarks.measure import BenchError, allow_files
from benchmarks.receiver import ReadCounts
from fixtures.engines import settings_for_engines
from fixtures.world import World
from superimap.core.config import Settings
from superimap.db import engine
from superimap.db.accounts import connections, partners, sweeps, users
from superimap.db.accounts.sweeps import SweepRequest

SWEEP_SECONDS = 1800.0
"""Time after which the sweep must have ended."""
PART_SECONDS = 5.0
"""Length of the parts in which live mail is delivered until the sweep has ended."""
ALONE_SECONDS = 30.0
"""Time for which live mail is measured without a sweep, before it and again afterwards."""
SERVICES = ("idler", "dispatcher", "api")


async def run(
    *,
    history: int = 20_000,
    idle: int = 1000,
    rate: float = 20.0,
    partner_count: int = 10,
    mail_bytes: int = 5000,
    kills: int = 0,
    database_url: str | None = None,
    redis_url: str | None = None,
) -> dict[str, Any]:
    """Sweep `history` mails of one of `idle` mailboxes while `rate` mails a second arrive; returns the figures."""
    allow_files(idle)
    async with (
        mail_source.running() as mails,
        settings_for_engines(database_url, redis_url) as settings,
        receiver.running(key=receiver.by_mail) as (base, read_counts),
        AsyncExitStack() as stack,
    ):
        old = await mails.deliver_old(history, size=mail_bytes)
        await create_users(settings, mails.port, base, idle, partner_count)
        running = _Services(stack, settings)
        await running.start()
        await mail_source.wait_until_watched(mails, idle, within=WAIT_SECONDS)
        live = _LiveMail(mails, read_counts, idle, mail_bytes, rate)
        await live.measure(PART_SECONDS)  # warms up
        alone = await live.measure(ALONE_SECONDS)
        began = time.monotonic()
        world = World.from_settings(settings)
        sweep = await _start(world)
        beside = []
        while not await _has_ended(world, sweep, began):
            if running.killed < kills:
                await running.kill()
            beside += await live.measure(PART_SECONDS)
        took = time.monotonic() - began
        alone += await live.measure(ALONE_SECONDS)
        await wait_for_webhooks(old, read_counts)
        figures = await _outcome(world, sweep)
    return {
        "bench": "sweep",
        "history": history,
        "idle_users": idle,
        "live_per_s": rate,
        "kills": running.killed,
        "seconds": round(took, 1),
        "mails_per_s": round(history / took, 1),
        "live_p50_ms": [_percentile(each, 0.5) for each in (alone, beside)],
        "live_p95_ms": [_percentile(each, 0.95) for each in (alone, beside)],
        **figures,
        "lost": history + live.sent - figures["deliveries"],
        "repeated": figures["deliveries"] - figures["messages"],
    }


class _Services:
    """Idler, dispatcher and API, which are killed and started again."""

    def __init__(self, stack: AsyncExitStack, settings: Settings) -> None:
        self._stack = stack
        self._settings = settings
        self._pids: dict[str, int] = {}
        self.killed = 0

    async def start(self) -> None:
        for name in SERVICES:
            variables = {"PORT": str(processes.free_port())} if name == "api" else {}
            worker = processes.worker(name, self._settings, variables, may_end=True)
            self._pids[name] = await self._stack.enter_async_context(worker)

    async def kill(self) -> None:
        """Kill all of them, and start others."""
        for pid in self._pids.values():
            os.kill(pid, signal.SIGKILL)
        self.killed += 1
        await self.start()


class _LiveMail:
    """Mail that arrives in all mailboxes, with its latency in milliseconds."""

    def __init__(
        self, mails: ImapServerSource, read_counts: ReadCounts, users: int, size: int, rate: float
    ) -> None:
        self._mails = mails
        self._read_counts = read_counts
        self._users = users
        self._size = size
        self._rate = rate
        self.sent = 0

    async def measure(self, seconds: float) -> list[float]:
        count = round(seconds * self._rate)
        came = await self._mails.deliver_from(
            self.sent, count, users=self._users, size=self._size, rate=self._rate
        )
        self.sent += count
        return [(at - sent) * 1000 for sent, at in await wait_for_webhooks(came, self._read_counts)]


async def _start(world: World) -> int:
    """Start a sweep of the first mailbox, which has the history."""
    async with engine.sessions(world.database_url) as sessions, sessions.begin() as db:
        partner = await partners.by_name(db, "bench0")
        if partner is None:
            raise BenchError("there is no partner bench0")
        linked = await connections.by_code(db, partner.id, PROVIDER)
        user = linked and await users.by_tag(db, linked.connection, "user0", lock=True)
        if not user:
            raise BenchError("there is no user user0")
        return (await sweeps.create(db, user, SweepRequest())).id


async def _has_ended(world: World, sweep: int, began: float) -> bool:
    if time.monotonic() - began > SWEEP_SECONDS:
        raise BenchError(f"the sweep did not end within {SWEEP_SECONDS:g} s")
    ended: bool = await world.value("SELECT finished_at IS NOT NULL FROM sweeps WHERE id = $1", sweep)
    await asyncio.sleep(0)
    return ended


async def _outcome(world: World, sweep: int) -> dict[str, Any]:
    """How the sweep ended, and how many deliveries and mails with a delivery there are."""
    (row,) = await world.rows(
        "SELECT state, sent, known, skipped, unreadable FROM sweeps WHERE id = $1", sweep
    )
    (counts,) = await world.rows(
        "SELECT count(*) AS deliveries, count(DISTINCT message_id) AS messages FROM deliveries"
    )
    return {**dict(row), **dict(counts)}


def _percentile(values: list[float], share: float) -> float:
    return round(sorted(values)[int(len(values) * share)], 1) if values else 0.0
