"""Doorbells of idlers that listen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from superimap.db import postgres
from superimap.doorbells.postgres import IdlerDoorbell


@asynccontextmanager
async def listening(doorbell: IdlerDoorbell, url: str) -> AsyncIterator[None]:
    """Let a doorbell listen on a connection of its own."""
    db = await postgres.connect(url, needs_session=True)
    try:
        await doorbell.listen_on(db)
        yield
    finally:
        db.terminate()
