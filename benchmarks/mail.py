"""The benchmark `mail`: latency, throughput and CPU of mails from IMAP to webhook.

Idler, dispatcher, mail server, receiver, PostgreSQL and Valkey are processes of their own.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

from benchmarks import dovecot, mail_source, paced, processes, receiver
from benchmarks.mail_source import MailSource
from benchmarks.measure import BenchError, allow_files
from benchmarks.processes import CpuMeter
from benchmarks.receiver import ReadCounts
from fixtures.engines import settings_for_engines
from fixtures.world import World
from superimap.core.config import Settings

PROVIDER = "BENCH"
SINGLE_MAILS_PER_SECOND = 10.0
"""Rate of the mails that arrive one by one."""
WAIT_SECONDS = 120.0
FILES_PER_DOVECOT_SESSION = 3
"""Open files of a session in the process that holds hibernated sessions."""


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
    paced_seconds: int = 0,
    pace: float = 20.0,
    database_url: str | None = None,
    redis_url: str | None = None,
) -> dict[str, Any]:
    """Deliver `singly` mails one by one to `idle` users, then `burst` mails at once; returns the figures.

    Then deliver `pace` mails a second to all users in turn, for `paced_seconds`.
    """
    allow_files(idle if server == "own" else FILES_PER_DOVECOT_SESSION * idle)
    async with (
        _mail_source(server, idle) as mails,
        settings_for_engines(database_url, redis_url) as settings,
        receiver.running(key=receiver.by_mail) as (base, read_counts),
    ):
        await create_users(settings, mails.port, base, idle, partner_count)
        async with processes.workers(settings, mails.groups) as services:

            async def send(count: int, *, users: int, rate: float = 0.0) -> list[tuple[float, float]]:
                await mail_source.wait_until_watched(mails, idle, within=WAIT_SECONDS)
                sent = await mails.deliver(count, users=users, size=mail_bytes, rate=rate)
                return await wait_for_webhooks(sent, read_counts)

            over = min(burst_users, idle)
            await send(10, users=idle)  # warms up
            single = await send(singly, users=idle, rate=SINGLE_MAILS_PER_SECOND)
            await send(over, users=over)  # wakes the sessions of the burst
            loaded = await _burst(services, mails, read_counts, burst, over, mail_bytes)
            steady = paced.Pace(send, services, users=idle, rate=pace)
            loaded |= await steady.measure(paced_seconds) if paced_seconds else {}
            unique, total, _ = await read_counts()
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
        "lost": 10 + singly + over + burst + loaded.get("paced", 0) - unique,
        "duplicates": total - unique,
    }


def _mail_source(server: Server, users: int) -> AbstractAsyncContextManager[MailSource]:
    return mail_source.running() if server == "own" else dovecot.running(users)


async def _burst(
    services: CpuMeter, mails: MailSource, read_counts: ReadCounts, count: int, over: int, size: int
) -> dict[str, Any]:
    before = await services.cpu()
    times = await wait_for_webhooks(await mails.deliver(count, users=over, size=size), read_counts)
    after = await services.cpu()
    took = max(came for _, came in times) - min(sent for sent, _ in times)
    spent = {name: round((after[name] - before[name]) * 1000 / count, 3) for name in before}
    return {
        "mails_per_s": round(count / took),
        "cpu_s_per_1000": round(sum(spent[name] for name in processes.WORKERS), 3),
        "cpu_s_per_1000_by_process": spent,
    }


async def wait_for_webhooks(sent: dict[str, float], read_counts: ReadCounts) -> list[tuple[float, float]]:
    """The times at which each mail and its webhook arrived. Raises BenchError if one is late."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                _, _, arrived = await read_counts()
                if sent.keys() <= arrived.keys():
                    return [(at, arrived[sha1]) for sha1, at in sent.items()]
                await asyncio.sleep(0.2)
    except TimeoutError:
        missing = len(sent.keys() - arrived.keys())
        raise BenchError(
            f"{missing} of {len(sent)} mails produced no webhook within {WAIT_SECONDS:g} s"
        ) from None


async def create_users(settings: Settings, port: int, base: str, count: int, partner_count: int) -> None:
    """Create partners with an endpoint each, and divide the users among them in turn."""
    world = World.from_settings(settings)
    await world.provider("127.0.0.1", port, code=PROVIDER)
    for number in range(partner_count):
        partner = await world.partner(f"bench{number}", new_mail_webhook=f"{base}{number}")
        await world.connection(partner, code=PROVIDER)
        logins = [f"user{user}" for user in range(number, count, partner_count)]
        await world.users(partner, {login: login for login in logins}, password="secret", code=PROVIDER)
