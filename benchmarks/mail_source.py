"""Mail for benchmarks of the whole path: the interface of a source, and one of the fake IMAP server."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection
from typing import Protocol

from benchmarks.certificate import server_context
from benchmarks.mail_server import mail_of
from benchmarks.measure import BenchError
from benchmarks.server_process import spawn_server
from superimap.testing.imap.server import ImapServer

BURST_BATCH_MAILS = 50
"""Mails of a burst after which the server handles its sockets."""


class MailSource(Protocol):
    """A running mail server. Its users are user0, user1 and so on, with the password `secret`."""

    port: int

    @property
    def groups(self) -> Mapping[str, int]:
        """Process groups of the server that are not children of multiprocessing, by name."""
        ...

    async def idling(self) -> int:
        """The number of idle sessions, which would announce a mail at once."""
        ...

    async def deliver(self, count: int, *, users: int, size: int, rate: float = 0.0) -> dict[str, float]:
        """Deliver `count` different mails of `size` bytes to the first `users` in turn.

        They arrive at `rate` per second, or at once if it is 0. Returns when each arrived (seconds since 1970),
        by its SHA-1.
        """
        ...


class ImapServerSource:
    """The fake IMAP server, in a process called mail_server."""

    groups: Mapping[str, int] = {}

    def __init__(self, pipe: Connection, port: int) -> None:
        self._pipe = pipe
        self.port = port

    async def idling(self) -> int:
        """See MailSource."""
        self._pipe.send(None)
        answer: int = await asyncio.to_thread(self._pipe.recv)
        return answer

    async def deliver(self, count: int, *, users: int, size: int, rate: float = 0.0) -> dict[str, float]:
        """See MailSource."""
        return await self._order(count, users, size, rate, 0, 0)

    async def deliver_from(
        self, first: int, count: int, *, users: int, size: int, rate: float
    ) -> dict[str, float]:
        """Deliver as `deliver` does, beginning with the user `first`."""
        return await self._order(count, users, size, rate, 0, first)

    async def deliver_old(self, count: int, *, size: int) -> dict[str, float]:
        """Deliver mails of a month ago to user0, at once; see MailSource."""
        return await self._order(count, 1, size, 0.0, 30, 0)

    async def _order(self, *order: float) -> dict[str, float]:
        self._pipe.send(order)
        answer: dict[str, float] = await asyncio.to_thread(self._pipe.recv)
        return answer


@asynccontextmanager
async def running(chain: str | None = None) -> AsyncIterator[ImapServerSource]:
    """Run the fake IMAP server for the length of the block, with TLS if there is a `chain` (PEM, key first)."""
    async with spawn_server(_main, chain, name="mail_server") as (pipe, port):
        yield ImapServerSource(pipe, port)


async def wait_until_watched(mails: MailSource, count: int, *, within: float) -> None:
    """Wait until `count` sessions are idle. Raises BenchError after `within` seconds."""
    try:
        async with asyncio.timeout(within):
            while await mails.idling() < count:  # noqa: ASYNC110 - another process sets no Event
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise BenchError(f"{count} users were not watched within {within:g} s") from None


async def deliver_in_turn(
    deliver: Callable[[str, bytes], object],
    numbers: Iterable[int],
    *,
    users: int,
    size: int,
    rate: float,
    first: int = 0,
) -> dict[str, float]:
    """Implement `MailSource.deliver` by `deliver(user, raw)`, with one mail for each of these numbers.

    The user `first` gets the first of them.
    """
    came: dict[str, float] = {}
    text = mail_of(size)
    begun, clock = asyncio.get_running_loop().time(), asyncio.get_running_loop().time
    for done, number in enumerate(numbers):
        if rate:
            await asyncio.sleep(max(0.0, begun + done / rate - clock()))
        elif done % BURST_BATCH_MAILS == 0:
            await asyncio.sleep(0)
        raw = text.replace(b"4711", b"%d" % number)  # in the Message-ID and in the subject
        came[hashlib.sha1(raw, usedforsecurity=False).hexdigest()] = time.time()
        deliver(f"user{(first + done) % users}", raw)
    return came


def _main(pipe: Connection, chain: str | None) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(pipe, chain))


async def _serve(pipe: Connection, chain: str | None) -> None:
    numbers = itertools.count()
    tls = server_context(chain) if chain else None
    async with ImapServer(tls=tls, any_login=True, log_size=0) as server:
        pipe.send(server.port)
        while True:
            order = await asyncio.to_thread(pipe.recv)
            if order is None:
                pipe.send(sum(session.idling for session in server.sessions))
                continue
            count, users, size, rate, days, first = order
            some = itertools.islice(numbers, count)
            date = datetime.now(UTC) - timedelta(days=days) if days else None
            deliver = partial(server.deliver, internal_date=date)
            pipe.send(await deliver_in_turn(deliver, some, users=users, size=size, rate=rate, first=first))
