"""How fast does a dispatcher deliver, and at what price? Many endpoints, each with a backlog, one receiver.

Needs an empty, migrated database and a Redis: `python -m superimap.bench.deliver DATABASE_URL REDIS_URL`.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import time
import uuid
from collections import Counter
from multiprocessing.connection import Connection
from typing import Any

import asyncpg

from superimap import crypto
from superimap.config import Settings
from superimap.crypto import Place, Vault
from superimap.dispatcher.main import serve
from superimap.dispatcher.stats import Stats
from superimap.testing.webhook_sink import Received, WebhookSink

CONTENT = 5_000
"""Bytes of an ordinary mail."""


async def run(*, database_url: str, redis_url: str, endpoints: int = 100, each: int = 100) -> dict[str, Any]:
    """Deliver `each` webhooks to each of so many endpoints of as many partners; the figures."""
    here, there = multiprocessing.Pipe()
    receiver = multiprocessing.get_context("spawn").Process(target=_receive, args=(there,), daemon=True)
    receiver.start()
    try:
        base = await asyncio.to_thread(here.recv)
        key = crypto.generate_key()
        async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as db:
            await _owe(db, Vault.from_setting(key), base, endpoints=endpoints, each=each)
        settings = Settings(
            environment="development", database_url=database_url, redis_url=redis_url, encryption_key=key
        )
        seconds, cpu = await _deliver(settings, endpoints * each)
        here.send(None)
        unique, total = await asyncio.to_thread(here.recv)
    finally:
        receiver.kill()
        receiver.join()
    return {
        "bench": "deliver",
        "webhooks": endpoints * each,
        "webhooks_per_s": round(endpoints * each / seconds),
        "cpu_ms_per_webhook": round(cpu * 1000 / (endpoints * each), 3),
        "lost": endpoints * each - unique,
        "duplicates": total - unique,
    }


async def _deliver(settings: Settings, count: int) -> tuple[float, float]:
    """Seconds and CPU seconds that a dispatcher takes until so many are delivered, and its stop."""
    stop, stats = asyncio.Event(), Stats()
    started, cpu = time.perf_counter(), time.process_time()
    serving = asyncio.create_task(serve(settings, stop, stats=stats))
    while stats.delivered < count and not serving.done():  # noqa: ASYNC110 - counters set no Event
        await asyncio.sleep(0.01)
    took, spent = time.perf_counter() - started, time.process_time() - cpu
    stop.set()
    await serving
    return took, spent


async def _owe(db: asyncpg.Pool, vault: Vault, base: str, *, endpoints: int, each: int) -> None:
    """Partners with keys, an endpoint and a user each, and what is owed to them."""
    provider = await db.fetchval(
        "INSERT INTO providers (code, title, kind, imap_host, imap_port)"
        " VALUES ($1, 'bench', 'PLAIN', 'localhost', 993) RETURNING id",
        uuid.uuid4().hex,
    )
    for number in range(endpoints):
        partner, user, endpoint = await db.fetchrow(
            """
            WITH p AS (INSERT INTO partners (name) VALUES ($1) RETURNING id),
            e AS (INSERT INTO endpoints (partner_id, kind, url) SELECT id, 'new_mail', $2 FROM p RETURNING id),
            c AS (INSERT INTO connections (partner_id, provider_id) SELECT id, $3 FROM p RETURNING id),
            u AS (INSERT INTO users (partner_id, connection_id, tag)
                  SELECT p.id, c.id, 'ann' FROM p, c RETURNING id)
            SELECT p.id, u.id, e.id FROM p, u, e
            """,
            uuid.uuid4().hex,
            f"{base}{number}",
            provider,
        )
        await _keep_keys(db, vault, partner)
        await db.copy_records_to_table(
            "deliveries",
            columns=["id", "partner_id", "endpoint_id", "user_id", "kind", "content"],
            records=[
                (id_, partner, endpoint, user, "new_mail", _sealed(vault, partner, id_))
                for id_ in (uuid.uuid4() for _ in range(each))
            ],
        )
    await db.execute("ANALYZE")


async def _keep_keys(db: asyncpg.Pool, vault: Vault, partner: int) -> None:
    api_key, secret = crypto.generate_api_key(), crypto.generate_signing_secret()
    for table, text, more in (("api_keys", api_key, ", digest, hint"), ("signing_secrets", secret, "")):
        row = await db.fetchval(f"SELECT nextval(pg_get_serial_sequence('{table}', 'id'))")
        values = [row, partner, vault.seal_text(text, Place(table, "secret", partner, str(row)))]
        values += [crypto.digest(text), text[-4:]] if more else []
        marks = ", ".join(f"${number + 1}" for number in range(len(values)))
        await db.execute(
            f"INSERT INTO {table} (id, partner_id, secret{more}) OVERRIDING SYSTEM VALUE VALUES ({marks})",  # noqa: S608 - our own names
            *values,
        )


def _sealed(vault: Vault, partner: int, id_: uuid.UUID) -> bytes:
    content = json.dumps({"sha1": os.urandom(20).hex(), "rfc822": "x" * CONTENT}, separators=(",", ":"))
    return vault.seal(content.encode(), Place("deliveries", "content", partner, str(id_)))


def _receive(pipe: Connection) -> None:
    """The receiver, in a process of its own, so that its CPU is not counted."""
    asyncio.run(_count(pipe))


async def _count(pipe: Connection) -> None:
    seen: Counter[str] = Counter()

    def answer(received: Received) -> int:
        seen[received.headers["webhook-id"]] += 1
        return 200

    async with WebhookSink(answer=answer, record=False) as sink:
        pipe.send(sink.url("/"))
        await asyncio.to_thread(pipe.recv)
        pipe.send((len(seen), seen.total()))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(database_url=sys.argv[1], redis_url=sys.argv[2]))))  # noqa: T201
