"""Who receives the webhooks of a benchmark? A process of its own, so that its CPU is not counted."""

from __future__ import annotations

import asyncio
import multiprocessing
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection

from superimap.testing.webhook_sink import Received, WebhookSink

Ask = Callable[[], Awaitable[tuple[int, int, dict[str, float]]]]
"""How many were told apart, how many POSTs came, and when each came first (seconds since 1970)."""

HANGS = "/hangs"
"""What is POSTed there is never answered."""

_SHA1 = re.compile(rb'"sha1" ?: ?"([0-9a-f]{40})"')


def by_id(received: Received) -> str:
    """Its webhook-id."""
    return received.headers["webhook-id"]


def by_mail(received: Received) -> str:
    """The SHA-1 of the mail that it tells of, or nothing."""
    found = _SHA1.search(received.body)
    return found[1].decode() if found else ""


@asynccontextmanager
async def running(
    delay: float = 0.0, *, key: Callable[[Received], str] = by_id
) -> AsyncIterator[tuple[str, Ask]]:
    """A receiver that answers after `delay` seconds: its address, and what asks it. `key` tells webhooks apart."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_receive, args=(there, delay, key), name="receiver", daemon=True
    )
    process.start()

    async def ask() -> tuple[int, int, dict[str, float]]:
        here.send(None)
        told: tuple[int, int, dict[str, float]] = await asyncio.to_thread(here.recv)
        return told

    try:
        yield await asyncio.to_thread(here.recv), ask
    finally:
        process.kill()
        process.join()


def _receive(pipe: Connection, delay: float, key: Callable[[Received], str]) -> None:
    asyncio.run(_count(pipe, delay, key))


async def _count(pipe: Connection, delay: float, key: Callable[[Received], str]) -> None:
    posts: Counter[str] = Counter()
    came: dict[str, float] = {}

    async def answer(received: Received) -> int:
        if received.path == HANGS:
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
