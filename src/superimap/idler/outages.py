"""Statements that are repeated until PostgreSQL answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from superimap.core.backoff import Backoff
from superimap.db.postgres import UNAVAILABLE

log = logging.getLogger(__name__)

T = TypeVar("T")


async def until_answered(statement: Callable[[], Awaitable[T]], *, user_id: int) -> T:
    """Run a statement until PostgreSQL answers. One whose answer is lost must be safe to repeat."""
    backoff = Backoff(first=0.5, longest=10.0)
    while True:
        try:
            return await statement()
        except UNAVAILABLE as error:
            log.warning("waiting for PostgreSQL: %s", error, extra={"user_id": user_id})
            await asyncio.sleep(backoff.next())
