"""Who is owed what, in a benchmark of the dispatcher? Partners with an endpoint each, and their deliveries."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from superimap.core import crypto
from superimap.core.config import Settings
from superimap.core.crypto import Place, Vault
from superimap.db import migrate
from superimap.launch import engines as embedded

CONTENT = 5_000
"""Bytes of an ordinary mail."""


@dataclass(frozen=True, slots=True)
class Owed:
    """One partner, its user and its endpoint."""

    partner: int
    user: int
    endpoint: int


@asynccontextmanager
async def engines(database_url: str | None, redis_url: str | None) -> AsyncIterator[Settings]:
    """Settings for a dispatcher on these engines, or on engines of our own for as long as this lasts.

    A database that is given has to be empty; it is migrated, and what the benchmark writes stays there.
    """
    if database_url is None or redis_url is None:
        with _open_folder() as folder:
            async with (
                embedded.postgres(folder / "postgres") as own,
                embedded.valkey(None) as bell,
                engines(database_url or own, redis_url or bell) as settings,
            ):
                yield settings
        return
    await asyncio.to_thread(migrate.upgrade, database_url)
    yield Settings(
        environment="development",
        database_url=database_url,
        redis_url=redis_url,
        encryption_key=crypto.generate_key(),
    )


@contextmanager
def _open_folder() -> Iterator[Path]:
    """A folder that other users may enter, as which the engines run for root."""
    with tempfile.TemporaryDirectory(prefix="superimap-bench-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


async def partners(db: asyncpg.Pool, vault: Vault, urls: list[str]) -> list[Owed]:
    """A partner with keys, an endpoint and a user for each of these URLs."""
    provider = await db.fetchval(
        "INSERT INTO providers (code, title, kind, imap_host, imap_port)"
        " VALUES ($1, 'bench', 'PLAIN', 'localhost', 993) RETURNING id",
        uuid.uuid4().hex,
    )
    made = []
    for url in urls:
        row = await db.fetchrow(
            """
            WITH p AS (INSERT INTO partners (name) VALUES ($1) RETURNING id),
            e AS (INSERT INTO endpoints (partner_id, kind, url) SELECT id, 'new_mail', $2 FROM p RETURNING id),
            c AS (INSERT INTO connections (partner_id, provider_id) SELECT id, $3 FROM p RETURNING id),
            u AS (INSERT INTO users (partner_id, connection_id, tag)
                  SELECT p.id, c.id, 'ann' FROM p, c RETURNING id)
            SELECT p.id, u.id, e.id FROM p, u, e
            """,
            uuid.uuid4().hex,
            url,
            provider,
        )
        made.append(Owed(*row))
        await _keep_keys(db, vault, made[-1].partner)
    return made


async def owe(db: asyncpg.Pool, vault: Vault, to: Owed, count: int) -> list[uuid.UUID]:
    """Owe so many webhooks of an ordinary mail each, in one statement; their ids."""
    ids = [uuid.uuid4() for _ in range(count)]
    await db.copy_records_to_table(
        "deliveries",
        columns=["id", "partner_id", "endpoint_id", "user_id", "kind", "content"],
        records=[
            (id_, to.partner, to.endpoint, to.user, "new_mail", _sealed(vault, to.partner, id_))
            for id_ in ids
        ],
    )
    return ids


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
