"""Fill of an empty database with as many users and mails as are asked for: 10 million mails in minutes."""

from __future__ import annotations

import time
from pathlib import Path

import asyncpg

FILL = Path(__file__).with_suffix(".sql")
TABLES = ("messages", "deliveries", "attempts")
"""Tables whose indexes are built after their rows, which is faster."""

# Settings of a session that writes much; the server's own settings are those of the product.
SESSION = {"maintenance_work_mem": "512MB", "work_mem": "256MB", "timezone": "UTC"}

_INDEXES = """
    SELECT c.relname AS name, pg_get_indexdef(c.oid) AS definition
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = ANY($1::text[]::regclass[]) AND NOT EXISTS (
        SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid
    )
"""


async def fill(url: str, *, users: int, mails: int) -> float:
    """Fill the migrated, empty database and gather its statistics; return the seconds that it took."""
    began = time.monotonic()
    db = await asyncpg.connect(url, server_settings=SESSION)
    try:
        indexes = await db.fetch(_INDEXES, list(TABLES))
        for index in indexes:
            await db.execute(f'DROP INDEX "{index["name"]}"')
        await db.execute("SELECT set_config('growth.users', $1, false)", str(users))
        await db.execute("SELECT set_config('growth.mails', $1, false)", str(mails))
        await db.execute(FILL.read_text())
        for index in indexes:
            await db.execute(index["definition"])
        await db.execute("VACUUM (ANALYZE)")
    finally:
        await db.close()
    return time.monotonic() - began
