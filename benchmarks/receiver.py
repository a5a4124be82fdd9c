"""The receiver of webhooks, in a process of its own so that its CPU is not measured."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection

from benchmarks.server_process import spawn_server
from superimap.testing.webhook_sink import Received, WebhookSink

ReadCounts = Callable[[], Awaitable[tuple[int, int, dict[str, float]]]]
"""Returns the number of different webhooks, of POSTs, and when each webhook came first (seconds since 1970)."""

HANGING_PATH = "/hangs"
"""The path whose POSTs are never answered."""

_SHA1 = re.compile(rb'"sha1" ?: ?"([0-9a-f]{40})"')


def by_id(received: Received) -> str:
    """Tell webhooks apart by their webhook-id."""
    return received.headers["webhook-id"]


def by_mail(received: Received) -> str:
    """Tell webhooks apart by the SHA-1 of their mail, which is empty for other kinds."""
    found = _SHA1.search(received.body)
    return found[1].decode() if found else ""


@asynccontextmanager
async def running(
    delay: float = 0.0, *, key: Callable[[Received], str] = by_id
) -> AsyncIterator[tuple[str, ReadCounts]]:
    """Run a receiver that answers after `delay` seconds; yields its URL and the function that reads its counts.

    `key` tells webhooks apart.
    """
    async with spawn_server(_receive, delay, key, name="receiver") as (pipe, url):

        async def read_counts() -> tuple[int, int, dict[str, float]]:
            pipe.send(None)
            counts: tuple[int, int, dict[str, float]] = await asyncio.to_thread(pipe.recv)
            return counts

        yield url, read_counts


def _receive(pipe: Connection, delay: float, key: Callable[[Received], str]) -> None:
    asyncio.run(_count(pipe, delay, key))


async def _count(pipe: Connection, delay: float, key: Callable[[Received], str]) -> None:
    posts: Counter[str] = Counter()
    came: dict[str, float] = {}

    async def answer(received: Received) -> int:
        if received.path == HANGING_PATH:
            await asyncio.Event().wait()
        which = key(received)
        posts[which] += 1
        came.setdefault(which, received.wall)
        await asyncio.sleep(delay)
        return 200

    async with WebhookSink(answer=answer, record=False) as sink:
        pipe.send(sink.url("/"))
        while True:
            await asyncio.to_thread(pipe.recv)
            pipe.send((len(posts), posts.total(), came))
