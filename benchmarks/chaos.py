"""The benchmark `chaos`: each mail is found exactly once while the mail server fails as the original's did.

`python -m benchmarks chaos --users 200 --mails 2000 --seeds 10` prints one line of JSON for each seed. It starts
its own PostgreSQL and Valkey (the extra `embedded`).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from fixtures.engines import create_database, open_folder
from fixtures.world import World
from superimap.core import crypto
from superimap.core.config import Settings
from superimap.core.health import Readiness
from superimap.idler import main
from superimap.idler.timing import SessionTiming
from superimap.imap.types import Timeouts
from superimap.launch import engines as embedded
from superimap.testing.chaos.hostile_mails import small_mail
from superimap.testing.chaos.server import Chaos
from superimap.testing.imap.server import ImapServer

CASES = ("seed", "seed-uidvalidity")
# The original's server hid a mail for half a minute if it got no answer; these waits are shorter, but as many.
QUICK = SessionTiming(
    timeouts=Timeouts(connect=2.0, login=2.0, command=2.0, fetch=3.0, done=2.0, logout=0.2),
    backoff_first=0.1,
    backoff_longest=2.0,
    refused_first=1.0,
    refused_longest=4.0,
    throttled=1.0,
    settled=5.0,
)


async def run(
    *,
    database_url: str,
    redis_url: str,
    seed: int = 1,
    count: int = 200,
    mails: int = 2000,
    spread: float = 20.0,
    patience: float = 300.0,
    cases: Sequence[str] = CASES,
    timing: SessionTiming = QUICK,
) -> dict[str, Any]:
    """Deliver `mails` to `count` users over `spread` seconds while faults strike; returns the figures at the end.

    The end is when all mails are found, or `patience` seconds later. `database_url` is that of a migrated
    database without users.
    """
    key, began = crypto.generate_key(), time.monotonic()
    settings = Settings(
        environment="development", database_url=database_url, redis_url=redis_url, encryption_key=key
    )
    async with ImapServer(any_login=True, log_size=0) as server:
        await _users(settings, server, count)
        chaos = Chaos(server, seed=seed)
        for case in cases:
            chaos.add(case)
        async with _idler(settings, timing), asyncpg.create_pool(database_url, min_size=1, max_size=1) as db:
            ledger = await _deliver(server, random.Random(seed), count, mails, spread)  # noqa: S311 - repeatable
            deadline = time.monotonic() + patience
            while not ledger <= (await _count_deliveries(db)).keys() and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            seconds = time.monotonic() - began
        chaos.close()
        return await _figures(database_url, seed, ledger, seconds) | {
            "strikes": len(chaos.log),
            "connections": server.connects,
        }


async def _users(settings: Settings, server: ImapServer, count: int) -> None:
    """Create one partner, and users whose mailboxes are still empty."""
    world = World.from_settings(settings)
    partner = await world.partner("chaos", new_mail_webhook="https://app.example.com/")
    await world.provider(server.host, server.port, code="CHAOS")
    await world.connection(partner, code="CHAOS")
    await world.users(
        partner, {f"user{number}": f"user{number}" for number in range(count)}, password="pw", code="CHAOS"
    )


@asynccontextmanager
async def _idler(settings: Settings, timing: SessionTiming) -> AsyncIterator[None]:
    stop, health = asyncio.Event(), Readiness()
    task = asyncio.create_task(main.serve(settings, stop, health, timing=timing))
    try:
        while not health.ready and not task.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        yield
    finally:
        stop.set()
        await task


async def _deliver(
    server: ImapServer, chance: random.Random, count: int, mails: int, spread: float
) -> set[tuple[str, bytes]]:
    """Deliver mails to random users at an even rate; returns user and SHA-1 of each."""
    ledger, began = set(), time.monotonic()
    for number in range(mails):
        name = f"user{chance.randrange(count)}"
        raw = small_mail(f"mail {number}", body=b"text\r\n" * chance.randrange(1, 200))
        ledger.add((name, hashlib.sha1(raw, usedforsecurity=False).digest()))
        server.deliver(name, raw)
        await asyncio.sleep(max(0.0, began + spread * (number + 1) / mails - time.monotonic()))
    return ledger


async def _count_deliveries(db: asyncpg.Pool) -> Counter[tuple[str, bytes]]:
    """The number of deliveries for each mail of each user."""
    rows = await db.fetch(
        "SELECT u.tag, m.sha1 FROM deliveries d JOIN messages m ON m.id = d.message_id"
        " AND m.partner_id = d.partner_id JOIN users u ON u.id = m.user_id"
    )
    return Counter((row[0], row[1]) for row in rows)


async def _figures(
    database_url: str, seed: int, ledger: set[tuple[str, bytes]], seconds: float
) -> dict[str, Any]:
    """Compare the rows of the database, after the last write, with the mails that were delivered."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as db:
        deliveries = await _count_deliveries(db)
        recognised = await db.fetchval("SELECT count(*) FROM messages WHERE outcome = 'duplicate'")
    return {
        "seed": seed,
        "mails": len(ledger),
        "found": len(deliveries.keys() & ledger),
        "lost": len(ledger - deliveries.keys()),
        "duplicates": deliveries.total() - len(deliveries) + len(deliveries.keys() - ledger),
        "seconds": round(seconds, 1),
        "recognised": recognised,
    }


async def seeds(numbers: Sequence[int], **arguments: Any) -> AsyncIterator[dict[str, Any]]:
    """Yield the figures of each seed, each in a new database on engines of its own."""
    with open_folder("superimap-chaos-", in_memory=False) as folder:
        async with (
            embedded.postgres(folder / "postgres", fsync=False) as url,
            embedded.valkey(None) as redis_url,
        ):
            for seed in numbers:
                database_url = await create_database(url, f"chaos_{seed}")
                yield await run(database_url=database_url, redis_url=redis_url, seed=seed, **arguments)
