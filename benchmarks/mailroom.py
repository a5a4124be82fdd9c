"""Where does the mail of a benchmark come from? From our own IMAP server, each different from all others."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import multiprocessing
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from typing import Protocol

from benchmarks.far_end import mail_of
from superimap.testing.imap.server import ImapServer

AT_ONCE = 50
"""Mails of a burst between which the server looks at its sockets."""


class Mailroom(Protocol):
    """A running mail server, from outside. Users are user0, user1 and so on, with the password `secret`."""

    port: int

    @property
    def groups(self) -> Mapping[str, int]:
        """Its processes that are no children of multiprocessing: process groups, by name."""
        ...

    async def idling(self) -> int:
        """How many sessions idle, and would be told of a mail at once."""
        ...

    async def deliver(self, count: int, *, users: int, size: int, rate: float = 0.0) -> dict[str, float]:
        """So many mails of `size` bytes to the first `users` in turn, `rate` a second, or at once.

        Returns when each came (seconds since 1970), by its SHA-1.
        """
        ...


class Own:
    """Our own server, in a process called mail_server."""

    groups: Mapping[str, int] = {}

    def __init__(self, pipe: Connection, port: int) -> None:
        self._pipe = pipe
        self.port = port

    async def idling(self) -> int:
        """See Mailroom."""
        self._pipe.send(None)
        told: int = await asyncio.to_thread(self._pipe.recv)
        return told

    async def deliver(self, count: int, *, users: int, size: int, rate: float = 0.0) -> dict[str, float]:
        """See Mailroom."""
        self._pipe.send((count, users, size, rate))
        told: dict[str, float] = await asyncio.to_thread(self._pipe.recv)
        return told


@asynccontextmanager
async def running() -> AsyncIterator[Mailroom]:
    """Our own server, for as long as this lasts."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_main, args=(there,), name="mail_server", daemon=True
    )
    process.start()
    try:
        yield Own(here, await asyncio.to_thread(here.recv))
    finally:
        process.kill()
        process.join()


async def hand_out(
    deliver: Callable[[str, bytes], object], numbers: Iterable[int], *, users: int, size: int, rate: float
) -> dict[str, float]:
    """What `Mailroom.deliver` does, by `deliver(user, raw)`: a mail for each of these numbers."""
    came: dict[str, float] = {}
    text = mail_of(size)
    begun, clock = asyncio.get_running_loop().time(), asyncio.get_running_loop().time
    for done, number in enumerate(numbers):
        if rate:
            await asyncio.sleep(max(0.0, begun + done / rate - clock()))
        elif done % AT_ONCE == 0:
            await asyncio.sleep(0)
        raw = text.replace(b"4711", b"%d" % number)  # in the Message-ID and in the subject
        came[hashlib.sha1(raw, usedforsecurity=False).hexdigest()] = time.time()
        deliver(f"user{done % users}", raw)
    return came


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
            some = itertools.islice(numbers, count)
            pipe.send(await hand_out(server.deliver, some, users=users, size=size, rate=rate))
