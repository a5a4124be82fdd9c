"""Whom does a benchmark of idlers watch? Users of one partner, written straight into a database of their own."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg

from benchmarks.measure import BenchError
from superimap.core.crypto import Place, Vault
from superimap.db import migrate
from superimap.launch import engines as embedded

_BATCH = 10_000


@contextlib.asynccontextmanager
async def database(url: str | None) -> AsyncIterator[str]:
    """A migrated database without users: that of `url`, or one of the benchmark's own.

    Raises BenchError if it has users or idlers: those would be rung and counted.
    """
    async with contextlib.AsyncExitStack() as stack:
        if url is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="superimap-bench-"))
            Path(folder).chmod(0o755)  # noqa: ASYNC240 - before anything runs
            url = await stack.enter_async_context(embedded.postgres(Path(folder) / "pg", fsync=False))
        await asyncio.to_thread(migrate.upgrade, url)
        db = await asyncpg.connect(url)
        try:
            if await db.fetchval("SELECT EXISTS (SELECT FROM users) OR EXISTS (SELECT FROM idlers)"):
                raise BenchError("the database is in use; give an empty one: this fills it with users")
        finally:
            await db.close()
        yield url


async def fill(url: str, count: int, *, vault: Vault, port: int, tls: bool) -> None:
    """Connected users `user1` to `user{count}`, all with the password `secret`, at localhost:`port`."""
    db = await asyncpg.connect(url)
    try:
        async with db.transaction():
            partner = await db.fetchval("INSERT INTO partners (name) VALUES ('bench') RETURNING id")
            provider = await db.fetchval(
                "INSERT INTO providers (code, title, kind, imap_host, imap_port, imap_tls) "
                "VALUES ('BENCH', 'Bench', 'PLAIN', 'localhost', $1, $2) RETURNING id",
                port,
                "tls" if tls else "none",
            )
            connection = await db.fetchval(
                "INSERT INTO connections (partner_id, provider_id) VALUES ($1, $2) RETURNING id",
                partner,
                provider,
            )
            for first in range(1, count + 1, _BATCH):
                ids = list(range(first, min(first + _BATCH, count + 1)))
                await db.execute(
                    "INSERT INTO users (id, partner_id, connection_id, tag, login_username, login_password, "
                    "connected_at, status) SELECT id, $2, $3, 'user' || id, 'user' || id, password, now(), "
                    "'connecting' FROM unnest($1::bigint[], $4::bytea[]) AS u(id, password)",
                    ids,
                    partner,
                    connection,
                    [_sealed(vault, partner, user) for user in ids],
                )
            await db.execute("SELECT setval(pg_get_serial_sequence('users', 'id'), $1)", count)
        await db.execute("ANALYZE users")
    finally:
        await db.close()


def _sealed(vault: Vault, partner: int, user: int) -> bytes:
    sealed = vault.seal_text("secret", Place("users", "login_password", partner, str(user)))
    assert isinstance(sealed, bytes)  # noqa: S101
    return sealed
