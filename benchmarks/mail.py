"""How long is a mail under way, and what does it cost? In through IMAP, out as a webhook, through all of it.

Idler and dispatcher are processes of their own, as are mail server and receiver, and PostgreSQL and Valkey.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

from benchmarks import dovecot, house, mailroom, receiver
from benchmarks.house import House
from benchmarks.mailroom import Mailroom
from benchmarks.measure import BenchError, allow_files
from benchmarks.receiver import Ask
from fixtures.engines import settings_for_engines
from fixtures.world import World
from superimap.core.config import Settings

PROVIDER = "BENCH"
RATE = 10.0
"""Mails a second that come singly."""
PATIENCE = 120.0
DOVECOTS_FILES = 3
"""Open files that a session takes in the process that holds those that idle."""


Server = Literal["own", "dovecot"]


async def run(
    *,
    server: Server = "own",
    singly: int = 100,
    idle: int = 1000,
    burst: int = 5000,
    burst_users: int = 500,
    partner_count: int = 10,
    mail_bytes: int = 5000,
    database_url: str | None = None,
    redis_url: str | None = None,
) -> dict[str, Any]:
    """`singly` mails one by one beside so many idle users, then `burst` at once over some of them; the figures."""
    allow_files(idle if server == "own" else DOVECOTS_FILES * idle)
    async with (
        _mailroom(server, idle) as mails,
        settings_for_engines(database_url, redis_url) as settings,
        receiver.running(key=receiver.by_mail) as (base, ask),
    ):
        await _people(settings, mails.port, base, idle, partner_count)
        async with house.running(settings, mails.groups) as services:
            await _watched(mails, idle)
            await _through(await mails.deliver(10, users=idle, size=mail_bytes), ask)  # warm
            await _watched(mails, idle)
            single = await _through(await mails.deliver(singly, users=idle, size=mail_bytes, rate=RATE), ask)
            over = min(burst_users, idle)
            await _watched(mails, idle)
            await _through(await mails.deliver(over, users=over, size=mail_bytes), ask)  # now they are awake
            loaded = await _burst(services, mails, ask, burst, over, mail_bytes)
            unique, total, _ = await ask()
    waits = sorted((came - sent) * 1000 for sent, came in single)
    return {
        "bench": "mail",
        "server": server,
        "idle_users": idle,
        "singly": singly,
        "latency_p50_ms": round(waits[len(waits) // 2], 1),
        "latency_p95_ms": round(waits[int(len(waits) * 0.95)], 1),
        "burst": burst,
        "burst_users": over,
        "mail_bytes": mail_bytes,
        **loaded,
        "lost": 10 + singly + over + burst - unique,
        "duplicates": total - unique,
    }


def _mailroom(server: Server, users: int) -> AbstractAsyncContextManager[Mailroom]:
    return mailroom.running() if server == "own" else dovecot.running(users)


async def _burst(
    services: House, mails: Mailroom, ask: Ask, count: int, over: int, size: int
) -> dict[str, Any]:
    before = await services.cpu()
    times = await _through(await mails.deliver(count, users=over, size=size), ask)
    after = await services.cpu()
    took = max(came for _, came in times) - min(sent for sent, _ in times)
    spent = {name: round((after[name] - before[name]) * 1000 / count, 3) for name in before}
    return {
        "mails_per_s": round(count / took),
        "cpu_s_per_1000": round(sum(spent[name] for name in house.OURS), 3),
        "cpu_s_per_1000_by_process": spent,
    }


async def _through(sent: dict[str, float], ask: Ask) -> list[tuple[float, float]]:
    """When each of these mails came, and its webhook, once all are there. Raises BenchError."""
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                _, _, arrived = await ask()
                if sent.keys() <= arrived.keys():
                    return [(at, arrived[sha1]) for sha1, at in sent.items()]
                await asyncio.sleep(0.2)
    except TimeoutError:
        missing = len(sent.keys() - arrived.keys())
        raise BenchError(f"{missing} of {len(sent)} mails gave no webhook within {PATIENCE:g} s") from None


async def _watched(mails: Mailroom, count: int) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            while await mails.idling() < count:  # noqa: ASYNC110 - another process sets no Event
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise BenchError(f"{count} users were not watched within {PATIENCE:g} s") from None


async def _people(settings: Settings, port: int, base: str, count: int, partner_count: int) -> None:
    """Create partners with an endpoint each, and divide the users among them in turn."""
    world = World.of(settings)
    await world.provider("127.0.0.1", port, code=PROVIDER)
    for number in range(partner_count):
        partner = await world.partner(f"bench{number}", new_mail_webhook=f"{base}{number}")
        await world.connection(partner, code=PROVIDER)
        logins = [f"user{user}" for user in range(number, count, partner_count)]
        await world.users(partner, {login: login for login in logins}, password="secret", code=PROVIDER)
