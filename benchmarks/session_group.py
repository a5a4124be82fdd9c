"""Sessions for benchmarks: connected, opened and idle as in the idler, but without its database."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
from collections.abc import AsyncIterator, Callable

from benchmarks import certificate, mail_server
from benchmarks.mail_server import MailServerProcess
from benchmarks.measure import BenchError
from superimap.core import runtime
from superimap.idler import catch_up_plan, mailbox_queries
from superimap.imap import transport
from superimap.imap.client import ImapClient
from superimap.imap.connection import connect
from superimap.imap.errors import ImapError
from superimap.imap.types import Login, ServerAddress, Timeouts
from superimap.mail import message

MAX_CONNECTS_AT_ONCE = 32
"""Connection attempts that may run at the same time."""
_TIMEOUTS = Timeouts(connect=60, command=60, done=60)


class SessionGroup:
    """Many sessions on one server, with counters of their progress."""

    def __init__(self, server: MailServerProcess, tls_context: ssl.SSLContext | None) -> None:
        self.mail_server = server
        self.ready = 0
        self.established = 0
        self.read = 0
        self.dropped = 0
        self.first_fault: ImapError | None = None
        self._tls_context = tls_context
        self._where = ServerAddress("localhost", server.port, "tls" if tls_context else "none")
        self._gate = asyncio.Semaphore(MAX_CONNECTS_AT_ONCE)
        self._tasks: list[asyncio.Task[None]] = []
        self._awaited: tuple[Callable[[], bool], asyncio.Future[None]] | None = None

    async def open_sessions(self, count: int, *, within: float) -> None:
        """Open `count` more sessions and wait until all idle. Raises BenchError if one cannot connect."""
        first = len(self._tasks)
        self._tasks += [asyncio.create_task(self._session(first + number)) for number in range(count)]
        await self.wait_until(lambda: self.ready + self.dropped >= len(self._tasks), within=within)
        if self.first_fault is not None:
            raise BenchError(f"{self.dropped} of {count} sessions could not connect: {self.first_fault}")

    async def deliver(self, size: int, *, first: int, count: int, within: float) -> None:
        """Deliver a mail to `count` sessions, and wait until each has read it and idles again."""
        wanted = self.read + count
        self.mail_server.deliver(first, count, size)
        await self.wait_until(lambda: self.read + self.dropped >= wanted, within=within)

    async def wait_until(self, condition: Callable[[], bool], *, within: float) -> None:
        """Wait for a condition on the counters. Raises BenchError after `within` seconds."""
        if condition():
            return
        future = asyncio.get_running_loop().create_future()
        self._awaited = (condition, future)
        try:
            async with asyncio.timeout(within):
                await future
        except TimeoutError:
            raise BenchError(f"the sessions were not finished within {within:g} s") from None
        finally:
            self._awaited = None

    async def close(self) -> None:
        """End all sessions, in batches."""
        while self._tasks:
            ending, self._tasks = self._tasks[:MAX_CONNECTS_AT_ONCE], self._tasks[MAX_CONNECTS_AT_ONCE:]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    def _changed(self) -> None:
        if self._awaited is not None:
            condition, future = self._awaited
            if not future.done() and condition():
                future.set_result(None)

    async def _session(self, number: int) -> None:
        try:
            async with contextlib.AsyncExitStack() as stack:
                async with self._gate:
                    credentials = Login(f"user{number}", "secret")
                    client = await stack.enter_async_context(
                        connect(self._where, credentials, tls_context=self._tls_context, timeouts=_TIMEOUTS)
                    )
                await self._watch(client)
        except ImapError as error:
            self.dropped += 1
            self.first_fault = self.first_fault or error
            self._changed()

    async def _watch(self, client: ImapClient) -> None:
        await client.examine("INBOX")
        last = 0
        self.ready += 1
        self.established += 1
        self._changed()
        try:
            async for _ in client.idle():
                last, count = await _catch_up(client, last)
                self.read += count
                self._changed()
        finally:
            self.established -= 1


async def _catch_up(client: ImapClient, last: int) -> tuple[int, int]:
    """Read new mails as the idler does; returns the last UID and the number of mails."""
    found = await mailbox_queries.fetch_announced(client, after=last, announced=1)
    if not catch_up_plan.are_complete([meta.uid for meta, _ in found], after=last, announced=1):
        found = [(meta, None) for meta in await client.fetch_meta(list(await client.search_uids(after=last)))]
    for meta, peeked in found:
        raw = await client.fetch_raw(meta.uid) if peeked is None else peeked
        if raw is not None and message.parse(raw).sha1:
            last = meta.uid
    return last, len(found)


@contextlib.asynccontextmanager
async def open_group(*, tls: bool) -> AsyncIterator[SessionGroup]:
    """Run a mail server and yield a group without sessions; the sessions that it then opens end with the block.

    Memory is managed as in the idler.
    """
    authority, chain = certificate.make_certificate()
    async with mail_server.running(chain if tls else None) as server:
        context = None
        if tls:
            context = transport.new_tls_context()
            context.load_verify_locations(cadata=authority)
        group = SessionGroup(server, context)
        tending = asyncio.create_task(runtime.manage_memory(lambda: group.established))
        try:
            yield group
        finally:
            tending.cancel()
            await group.close()
            gc.unfreeze()
