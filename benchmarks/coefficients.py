"""The benchmark `coefficients`: what a process, a session, a login and a mail cost, for `superimap plan`.

All parts are real and run as processes of their own. The phases of one run: no users; users that log in; quiet
sessions that renew IDLE once a minute; mails at a steady pace; a mail to all users at once, small and large ones.
What the same time costs without users, or without mails, is subtracted.

An idler of a large installation receives a few mails a second, each of which wakes it: its cost is that of the
steady pace. Dispatchers, PostgreSQL and Valkey serve all idlers, and do more at once: theirs is that of the burst.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from benchmarks import certificate, cluster_cost, mail, mail_server, mail_source, processes, receiver
from benchmarks.mail_source import MailSource
from benchmarks.measure import allow_files
from benchmarks.processes import CpuMeter
from benchmarks.receiver import ReadCounts
from benchmarks.snapshots import MeasuredPhase, Recorder
from fixtures.engines import settings_for_engines
from fixtures.world import World
from superimap.core.config import Settings
from superimap.domain.coefficients import Coefficients, read_coefficients
from superimap.domain.mail_stages import MailOrigin
from superimap.mail import message
from superimap.webhooks import payload

SERVICES = ("idler", "dispatcher", "api")
PROVIDER = "BENCH"
PARTNER_COUNT = 10
RENEW_SECONDS = 60
SMALL_MAIL_BYTES, LARGE_MAIL_BYTES = 5 * 1024, 40 * 1024
MAILS_PER_SECOND = 40.0
BURST_ROUNDS = 2
"""Mails of each user in a burst."""
LOGINS_PER_SECOND = 200.0
SETTLE_SECONDS = 10.0
WAL_BYTES_PER_RENEWAL = 4.98
"""Measured by the benchmark `quiet` in ten minutes. A phase of this one mostly writes what follows the logins."""
WAIT_SECONDS = 240.0


async def run(*, users: int, seconds: int) -> tuple[Coefficients, dict[str, Any]]:
    """Measure all coefficients with `users` sessions; return them, and the machine.

    A phase takes `seconds`, the quiet one twice as long.
    """
    allow_files(users)
    authority, chain = certificate.make_certificate()
    async with (
        mail_source.running(chain) as mails,
        settings_for_engines(None, None) as settings,
        receiver.running(key=receiver.by_mail) as (base, read_counts),
        _services(settings, authority) as (meter, api),
    ):
        recorder = Recorder(settings, meter)
        found = await _measure(
            recorder, settings, mails, read_counts, (base, api), users=users, seconds=seconds
        )
        machine = await _machine(settings)
    found |= {"webhook_bytes_per_mail_byte": _webhook_ratio(), **await cluster_cost.measure()}
    found["wal_bytes_per_renewal"] = WAL_BYTES_PER_RENEWAL
    return read_coefficients({name: float(f"{value:.3g}") for name, value in found.items()}), machine


async def _measure(
    recorder: Recorder,
    settings: Settings,
    mails: MailSource,
    read_counts: ReadCounts,
    urls: tuple[str, str],
    *,
    users: int,
    seconds: int,
) -> dict[str, float]:
    base, api = urls
    await asyncio.sleep(SETTLE_SECONDS)
    idle = await recorder.record(asyncio.sleep(seconds))
    empty = await recorder.other_bytes()
    await _add_users(settings, mails.port, base, users)
    async with recorder.counting_connections():
        login = await recorder.record(mail_source.wait_until_watched(mails, users, within=WAIT_SECONDS))
        await _fill_pool(api)
    filled = await recorder.other_bytes()
    await asyncio.wait_for(recorder.until_vouched(users), WAIT_SECONDS)
    await asyncio.sleep(SETTLE_SECONDS)
    quiet = await recorder.record(asyncio.sleep(2 * seconds))
    count, before = round(MAILS_PER_SECOND * seconds), await recorder.mail_bytes()
    paced = await recorder.record(_send(mails, read_counts, users, SMALL_MAIL_BYTES, count, MAILS_PER_SECOND))
    bursts = []
    for size in (SMALL_MAIL_BYTES, LARGE_MAIL_BYTES):
        async with recorder.counting_connections():
            bursts.append(
                await recorder.record(_send(mails, read_counts, users, size, BURST_ROUNDS * users, 0.0))
            )
    sent = count + 2 * BURST_ROUNDS * users
    return {
        **_of_sessions(idle, login.without(idle), quiet.without(idle), users),
        "idler_cpu_ms_per_mail": 1000 * paced.without(quiet).cpu["idler"] / count,
        **_of_mails([burst.without(quiet) for burst in bursts], BURST_ROUNDS * users),
        **{f"{name}_connections": float(recorder.connections[name]) for name in SERVICES},
        "backend_mib": await recorder.backend_mib(),
        "disk_bytes_per_user": (filled - empty) / users,
        "disk_bytes_per_mail": (await recorder.mail_bytes() - before) / sent,
    }


def _of_sessions(
    idle: MeasuredPhase, login: MeasuredPhase, quiet: MeasuredPhase, users: int
) -> dict[str, float]:
    renewals = users * quiet.seconds / RENEW_SECONDS
    return {
        **{f"{name}_base_mib": idle.pss_mib[name] for name in SERVICES},
        **{
            f"{name}_base_cpu_ms_per_s": 1000 * idle.cpu[name] / idle.seconds
            for name in (*SERVICES, "postgres")
        },
        "session_kib": (quiet.pss_mib["idler"] - idle.pss_mib["idler"]) * 1024 / users,
        "idler_cpu_ms_per_login": 1000 * login.cpu["idler"] / users,
        "postgres_cpu_ms_per_login": 1000 * login.cpu["postgres"] / users,
        "wal_bytes_per_login": login.wal_bytes / users,
        "idler_cpu_ms_per_renewal": 1000 * quiet.cpu["idler"] / renewals,
        "postgres_cpu_ms_per_renewal": 1000 * quiet.cpu["postgres"] / renewals,
    }


def _of_mails(bursts: list[MeasuredPhase], count: int) -> dict[str, float]:
    """Costs of a mail of a burst: CPU by the small ones, WAL by the straight line through both sizes."""
    small, large = bursts
    per_byte = (large.wal_bytes - small.wal_bytes) / count / (LARGE_MAIL_BYTES - SMALL_MAIL_BYTES)
    return {
        **{
            f"{name}_cpu_ms_per_mail": 1000 * small.cpu["valkey" if name == "redis" else name] / count
            for name in ("dispatcher", "postgres", "redis")
        },
        "wal_bytes_per_mail": small.wal_bytes / count - per_byte * SMALL_MAIL_BYTES,
        "wal_bytes_per_mail_byte": per_byte,
    }


async def _send(
    mails: MailSource, read_counts: ReadCounts, users: int, size: int, count: int, rate: float
) -> None:
    """Deliver the mails to all users in turn, at this rate or at once, and wait for their webhooks."""
    sent = await mails.deliver(count, users=users, size=size, rate=rate)
    await mail.wait_for_webhooks(sent, read_counts)


async def _fill_pool(api: str) -> None:
    """Send requests at once, so that the API opens the connections of its pool."""
    async with httpx.AsyncClient(base_url=api, timeout=60) as client:
        requests = [client.get("/api/v1/connections", headers={"x-api-key": f"sip_{n}"}) for n in range(200)]
        await asyncio.gather(*requests)


async def _add_users(settings: Settings, port: int, base: str, count: int) -> None:
    world = World.from_settings(settings)
    await world.provider("localhost", port, code=PROVIDER, tls="tls", logins_per_second=LOGINS_PER_SECOND)
    for number in range(PARTNER_COUNT):
        partner = await world.partner(f"bench{number}", new_mail_webhook=f"{base}{number}")
        await world.connection(partner, code=PROVIDER)
        logins = [f"user{user}" for user in range(number, count, PARTNER_COUNT)]
        await world.users(partner, {login: login for login in logins}, password="secret", code=PROVIDER)


@contextlib.asynccontextmanager
async def _services(settings: Settings, authority: str) -> AsyncIterator[tuple[CpuMeter, str]]:
    """Run one process of each kind, whose connections have its name; yields their meter, and the API's URL."""
    port = processes.free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as trusted:
        trusted.write(authority)
        trusted.flush()
        variables = {
            "SSL_CERT_FILE": trusted.name,
            "IDLE_RENEW": str(RENEW_SECONDS),
            "HOST": "127.0.0.1",
            "PORT": str(port),
        }
        async with contextlib.AsyncExitStack() as stack:
            pids = {}
            for name in SERVICES:
                own = {**variables, "DATABASE_URL": f"{settings.database_url}&application_name={name}"}
                pids[name] = await stack.enter_async_context(processes.worker(name, settings, own))
            yield CpuMeter(settings, pids, {}), f"http://127.0.0.1:{port}"


def _webhook_ratio() -> float:
    """The size of a webhook's content relative to its mail, for a mail of SMALL_MAIL_BYTES."""
    raw = mail_server.mail_of(SMALL_MAIL_BYTES)
    content = payload.new_mail(
        raw,
        message.parse(raw),
        text=[raw.decode()],
        is_exact=True,
        envelope={},
        user_tag="user",
        imap_provider_code=PROVIDER,
        received_at=datetime.now(UTC),
        origin=MailOrigin.LIVE,
    )
    return len(content) / len(raw)


async def _machine(settings: Settings) -> dict[str, Any]:
    db = await asyncpg.connect(settings.database_url)
    try:
        version = await db.fetchval("SHOW server_version")
    finally:
        await db.close()
    models = await asyncio.to_thread(_processor_names)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": models[0] if models else platform.machine(),
        "cores": len(models),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgresql": version,
    }


def _processor_names() -> list[str]:
    """The names of all cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
