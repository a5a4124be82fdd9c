"""Listening to the doorbells of idlers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from superimap.domain.shards import USERS_CHANNEL


@asynccontextmanager
async def rung_shards(database_url: str) -> AsyncIterator[asyncio.Queue[str]]:
    """Provide a queue of the shards whose doorbell is rung."""
    rings: asyncio.Queue[str] = asyncio.Queue()
    db = await asyncpg.connect(database_url)
    await db.add_listener(USERS_CHANNEL, lambda *event: rings.put_nowait(event[3]))
    try:
        yield rings
    finally:
        await db.close()
