"""The benchmark `onboard`: users that the API creates, until an idler watches all of them, and afterwards.

API, idler, dispatcher, mail server, PostgreSQL and Valkey are processes of their own; this one is the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import asyncpg
import httpx

from benchmarks import certificate, mail_source, processes
from benchmarks.measure import BenchError, allow_files
from benchmarks.processes import CpuMeter
from fixtures.engines import settings_for_engines
from fixtures.world import World
from superimap.core.config import Settings
from superimap.db import engine
from superimap.db.accounts import quotas
from superimap.domain.quotas import Quota

PROVIDER = "BENCH"
PATH = f"/api/v1/connections/{PROVIDER}/users"
WARM_UP_USERS = 50
REQUESTS_AT_ONCE = 4
LOGINS_PER_SECOND = 1000.0
WAIT_SECONDS = 300.0
MEASURED = ("api", "idler", "dispatcher", "postgres", "valkey")
SETTLE_SECONDS = 30.0
"""Time after which onboarding is over for all processes, before they are measured idle."""
_TRANSACTIONS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


async def run(
    *,
    users: int = 1000,
    batch: int = 0,
    tls: bool = False,
    idle_seconds: float = 0,
    database_url: str | None = None,
    redis_url: str | None = None,
) -> dict[str, Any]:
    """Create `users` one by one, or `batch` at once, and wait until all are watched; returns the figures.

    With `idle_seconds`, measure the processes for that time, with no mail, after 30 s in which they settle.
    """
    allow_files(users + WARM_UP_USERS)
    authority, chain = certificate.make_certificate()
    async with (
        mail_source.running(chain if tls else None) as mails,
        settings_for_engines(database_url, redis_url) as settings,
    ):
        key = await _create_partner(settings, mails.port, "tls" if tls else "none")
        async with _services(settings, authority) as (meter, base), _client(base, key) as client:
            await _create_users(client, _people("warm", WARM_UP_USERS), batch)
            await mail_source.wait_until_watched(mails, WARM_UP_USERS, within=WAIT_SECONDS)
            before = await meter.cpu(), await _transactions(settings)
            await _create_users(client, _people("user", users), batch)
            await mail_source.wait_until_watched(mails, WARM_UP_USERS + users, within=WAIT_SECONDS)
            after = await meter.cpu(), await _transactions(settings)
            idle = await _measure_idle(meter, idle_seconds) if idle_seconds else {}
    spent = _spent(before[0], after[0], per=1000 / users)
    return {
        "bench": "onboard",
        "users": users,
        "batch": batch,
        "tls": tls,
        "cpu_s_per_1000": round(sum(spent.values()), 2),
        "cpu_s_per_1000_by_process": spent,
        "transactions_per_user": round((after[1] - before[1]) / users, 2),
    } | idle


def _spent(before: Mapping[str, float], after: Mapping[str, float], *, per: float = 1) -> dict[str, float]:
    return {name: round((after[name] - before[name]) * per, 2) for name in MEASURED if name in before}


async def _measure_idle(meter: CpuMeter, seconds: float) -> dict[str, Any]:
    """Return the CPU seconds of all processes within `seconds`, and the memory of ours."""
    await asyncio.sleep(SETTLE_SECONDS)
    before = await meter.cpu()
    await asyncio.sleep(seconds)
    spent = _spent(before, await meter.cpu())
    memory = {name: round(kib / 1024, 1) for name, kib in meter.pss_kib().items()}
    return {
        "idle_seconds": seconds,
        "idle_cpu_s": round(sum(spent.values()), 2),
        "idle_cpu_s_by_process": spent,
        "pss_mib": round(sum(memory.values()), 1),
        "pss_mib_by_process": memory,
    }


def _people(prefix: str, count: int) -> list[dict[str, str]]:
    return [
        {
            "tag": f"{prefix}{number}",
            "email": f"{prefix}{number}@example.com",
            "login_username": f"{prefix}{number}@example.com",
            "login_password": "secret",
        }
        for number in range(count)
    ]


async def _create_users(client: httpx.AsyncClient, people: Sequence[Mapping[str, str]], batch: int) -> None:
    """Create the users, with some requests at once. Raises BenchError if one is refused."""
    requests: list[tuple[str, Mapping[str, object], int]]
    if batch:
        requests = [
            (f"{PATH}/batch", {"users": people[at : at + batch]}, 200) for at in range(0, len(people), batch)
        ]
    else:
        requests = [(PATH, person, 201) for person in people]
    waiting = iter(requests)

    async def send() -> None:
        for path, body, status in waiting:
            answer = await client.post(path, json=body)
            if answer.status_code != status:
                raise BenchError(f"POST {path} was answered {answer.status_code}: {answer.text[:300]}")

    await asyncio.gather(*(send() for _ in range(REQUESTS_AT_ONCE)))


async def _create_partner(settings: Settings, port: int, tls: str) -> str:
    """Create a partner that may send any number of requests, and its connection; returns its API key."""
    world = World.from_settings(settings)
    await world.provider("localhost", port, code=PROVIDER, tls=tls, logins_per_second=LOGINS_PER_SECOND)
    partner = await world.partner("bench", new_mail_webhook="https://app.example.com/")
    await world.connection(partner, code=PROVIDER)
    async with engine.sessions(settings.database_url) as sessions, sessions.begin() as db:
        await quotas.set_maximums(db, partner.partner.id, {Quota.REQUESTS_PER_SECOND: 1_000_000})
    return partner.api_key


@contextlib.asynccontextmanager
async def _services(settings: Settings, authority: str) -> AsyncIterator[tuple[CpuMeter, str]]:
    """Run all services, which trust `authority` (PEM); yields their meter, and the URL of the API."""
    port = processes.free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as trusted:
        trusted.write(authority)
        trusted.flush()
        variables = {"SSL_CERT_FILE": trusted.name, "HOST": "127.0.0.1", "PORT": str(port)}
        async with (
            processes.worker("idler", settings, variables) as idler,
            processes.worker("dispatcher", settings) as dispatcher,
            processes.worker("api", settings, variables) as api,
        ):
            base = f"http://127.0.0.1:{port}"
            await _wait_until_ready(base)
            yield CpuMeter(settings, {"api": api, "idler": idler, "dispatcher": dispatcher}, {}), base


@contextlib.asynccontextmanager
async def _client(base: str, key: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base, headers={"x-api-key": key}, timeout=60) as client:
        yield client


async def _wait_until_ready(base: str) -> None:
    try:
        async with asyncio.timeout(WAIT_SECONDS), httpx.AsyncClient(base_url=base) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get("/readyz")).status_code == 200:
                        return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise BenchError(f"the API was not ready within {WAIT_SECONDS:g} s; see its error above") from None


async def _transactions(settings: Settings) -> int:
    """Transactions that PostgreSQL has committed so far; those of a pooled session are reported after a second."""
    db = await asyncpg.connect(settings.database_url)
    try:
        return int(await db.fetchval(_TRANSACTIONS))
    finally:
        await db.close()
