"""Where does the mail of a benchmark come from? An IMAP server in its own process; no mail is like another."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import multiprocessing
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection

from superimap.bench.far_end import mail_of
from superimap.testing.imap_server import ImapServer

AT_ONCE = 50
"""Mails of a burst between which the server looks at its sockets."""


class Mailroom:
    """The running server, from outside. Users are user0, user1 and so on; any password will do."""

    def __init__(self, pipe: Connection, port: int) -> None:
        self._pipe = pipe
        self.port = port

    async def idling(self) -> int:
        """How many sessions idle."""
        self._pipe.send(None)
        told: int = await asyncio.to_thread(self._pipe.recv)
        return told

    async def deliver(self, count: int, *, users: int, size: int, rate: float = 0.0) -> dict[str, float]:
        """So many mails of `size` bytes to the first `users` in turn, `rate` a second, or at once.

        Returns when each came (seconds since 1970), by its SHA-1.
        """
        self._pipe.send((count, users, size, rate))
        told: dict[str, float] = await asyncio.to_thread(self._pipe.recv)
        return told


@asynccontextmanager
async def running() -> AsyncIterator[Mailroom]:
    """The server, for as long as this lasts."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_main, args=(there,), name="mail_server", daemon=True
    )
    process.start()
    try:
        yield Mailroom(here, await asyncio.to_thread(here.recv))
    finally:
        process.kill()
        process.join()


def _main(pipe: Connection) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(pipe))


async def _serve(pipe: Connection) -> None:
    numbers = itertools.count()
    async with ImapServer(any_login=True, log_size=0) as server:
        pipe.send(server.port)
        while True:
            order = await asyncio.to_thread(pipe.recv)
            if order is None:
                pipe.send(sum(session.idling for session in server.sessions))
                continue
            count, users, size, rate = order
            pipe.send(await _deliver(server, itertools.islice(numbers, count), users, mail_of(size), rate))


async def _deliver(
    server: ImapServer, numbers: Iterator[int], users: int, text: bytes, rate: float
) -> dict[str, float]:
    came: dict[str, float] = {}
    begun, clock = asyncio.get_running_loop().time(), asyncio.get_running_loop().time
    for done, number in enumerate(numbers):
        if rate:
            await asyncio.sleep(max(0.0, begun + done / rate - clock()))
        elif done % AT_ONCE == 0:
            await asyncio.sleep(0)
        raw = text.replace(b"4711", b"%d" % number)  # in the Message-ID and in the subject
        came[hashlib.sha1(raw, usedforsecurity=False).hexdigest()] = time.time()
        server.deliver(f"user{done % users}", raw)
    return came
