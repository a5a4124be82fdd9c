"""The benchmark `tokens`: real idlers whose access tokens expire, at a server that cuts expired sessions."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import asyncpg

from benchmarks import oauth_provider, processes
from benchmarks.measure import BenchError, allow_files
from benchmarks.oauth_provider import OAuthProviderProcess, ServerRecord
from fixtures.engines import settings_for_engines
from fixtures.world import World
from superimap.core.config import Settings

CODE = "BENCH"
WAIT_SECONDS = 120.0
_SUM_OF_EPOCHS = "SELECT sum(epoch) FROM shards"  # each change of an owner raises one epoch


async def run(
    *,
    users: int = 1000,
    life: int = 60,
    seconds: float = 180.0,
    idlers: int = 2,
    rate: float = 20.0,
    database_url: str | None = None,
    redis_url: str | None = None,
) -> dict[str, Any]:
    """Watch users whose tokens are valid for `life` seconds while mails arrive at `rate`; returns the figures.

    Raises BenchError if not all users are watched in time.
    """
    allow_files(users)
    async with (
        settings_for_engines(database_url, redis_url) as settings,
        oauth_provider.running(life=life) as servers,
    ):
        await _create_users(settings, servers, users)
        async with AsyncExitStack() as stack:
            started = time.time()
            for _ in range(idlers):
                await stack.enter_async_context(processes.worker("idler", settings))
            await _wait_until_watched(servers, users)
            if idlers > 1:
                await _wait_until_settled(settings)
            began = time.time()
            ledger = await servers.deliver(int(seconds * rate), users=users, rate=rate)
            ended = time.time()
            seen = await servers.seen()
            found = await _recorded(settings, ledger)
    return {
        "bench": "tokens",
        "users": users,
        "life_s": life,
        "idlers": idlers,
        "seconds": round(ended - began, 1),
        "ramp_s": round(began - started, 1),
        **_evenness(seen, began, ended),
        "refreshes": sum(began <= at < ended for at in seen.asked),
        "cut_by_server": seen.cut,
        "logins_refused": seen.refused,
        **_gaps(seen, began),
        "mails": len(ledger),
        "lost": len(ledger - found.keys()),
        "duplicates": found.total() - len(found) + len(found.keys() - ledger),
    }


def _evenness(seen: ServerRecord, began: float, ended: float) -> dict[str, Any]:
    """Reconnects per second, once all users are watched; the first lifetime of the tokens is included."""
    whole = int(ended - began)
    seconds = Counter(int(at - began) for at in seen.logins if began <= at < began + whole)
    mean = seconds.total() / max(whole, 1)
    most = max(seconds.values(), default=0)
    return {
        "expiries": seconds.total(),
        "reconnects_per_s_mean": round(mean, 2),
        "reconnects_per_s_max": most,
        "max_over_mean": round(most / mean, 2) if mean else 0.0,
    }


def _gaps(seen: ServerRecord, began: float) -> dict[str, Any]:
    """Times between the end of a session and the next login of the same user."""
    ordered = sorted(gap for at, gap in seen.gaps if at >= began) or [0.0]
    return {
        "gap_p50_ms": round(ordered[len(ordered) // 2] * 1000, 1),
        "gap_p99_ms": round(ordered[len(ordered) * 99 // 100] * 1000, 1),
    }


async def _create_users(settings: Settings, servers: OAuthProviderProcess, count: int) -> None:
    """Create one partner, and users who have consented."""
    world = World.from_settings(settings)
    await world.provider(
        "127.0.0.1",
        servers.imap_port,
        code=CODE,
        kind="OAUTH2",
        oauth2_authorize_url=f"{servers.oauth_url}/authorize",
        oauth2_token_url=f"{servers.oauth_url}/token",
        oauth2_scope="mail",
    )
    partner = await world.partner("bench", new_mail_webhook="https://app.example.com/")
    await world.connection(
        partner, code=CODE, oauth2_client_id="client", oauth2_client_secret=oauth_provider.CLIENT_SECRET
    )
    emails = [f"user{user}@example.com" for user in range(count)]
    people = [
        {"tag": email, "email": email, "oauth2_refresh_token": refresh_token}
        for email, refresh_token in zip(emails, await servers.grants(count), strict=True)
    ]
    await world.add_users(partner, people, code=CODE)


async def _wait_until_watched(servers: OAuthProviderProcess, count: int) -> None:
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while (await servers.seen()).idling < count * 0.95:  # noqa: ASYNC110 - some are just coming back
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise BenchError(f"{count} users were not watched within {WAIT_SECONDS:g} s") from None


async def _wait_until_settled(settings: Settings) -> None:
    """Wait until no shard changes its owner: users that are handed over reconnect too, but not for their token."""
    async with (
        asyncpg.create_pool(settings.database_url, min_size=1, max_size=1) as db,
        asyncio.timeout(WAIT_SECONDS),
    ):
        before, now = None, await db.fetchval(_SUM_OF_EPOCHS)
        while now != before:
            await asyncio.sleep(settings.heartbeat_interval * 1.5)
            before, now = now, await db.fetchval(_SUM_OF_EPOCHS)


async def _recorded(settings: Settings, ledger: set[tuple[str, bytes]]) -> Counter[tuple[str, bytes]]:
    """The number of deliveries for each mail of each user, once every mail has one or WAIT_SECONDS have passed."""
    async with asyncpg.create_pool(settings.database_url, min_size=1, max_size=1) as db:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            rows = await db.fetch(
                "SELECT u.email, m.sha1 FROM deliveries d JOIN messages m ON m.id = d.message_id"
                " AND m.partner_id = d.partner_id JOIN users u ON u.id = m.user_id"
            )
            found = Counter((row[0], row[1]) for row in rows)
            if ledger <= found.keys() or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.5)
