"""A foreign consumer of the queue, which takes jobs and does nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import Any, cast

from redis.asyncio import Redis

from superimap.doorbells.arq_worker import QUEUE_NAME
from superimap.doorbells.waking_worker import WAKE_KEY

CONNECTIONS = 9
"""Redis serves the clients that wait for a wake-up in turn: this many of each ten are taken from a dispatcher."""


@contextlib.asynccontextmanager
async def jobs_eaten(redis_url: str) -> AsyncIterator[None]:
    """Take most wake-ups, and delete the queue at each and every millisecond."""

    async def take_wakes(redis: Redis) -> None:
        while True:
            await cast(Awaitable[Any], redis.blpop([WAKE_KEY]))
            await redis.delete(QUEUE_NAME)

    async def delete(redis: Redis) -> None:
        while True:
            await redis.delete(QUEUE_NAME)
            await asyncio.sleep(0.001)

    async with Redis.from_url(redis_url) as redis:
        eating = [asyncio.create_task(take_wakes(redis)) for _ in range(CONNECTIONS)]
        eating.append(asyncio.create_task(delete(redis)))
        try:
            yield
        finally:
            for task in eating:
                task.cancel()
            await asyncio.gather(*eating, return_exceptions=True)
