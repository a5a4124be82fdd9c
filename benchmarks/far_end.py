"""Where is the mail server of a benchmark? In a process of its own, so that its CPU and memory do not count."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from collections.abc import AsyncIterator, Callable
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.certificate import server_context
from benchmarks.measure import BenchError
from superimap.testing.imap.server import ImapServer

HEADER = (
    b"Return-Path: <fred@example.com>\r\n"
    b"Received: from mx.example.com (mx.example.com [192.0.2.7]) by mail.example.org with ESMTPS id 7f3a9\r\n"
    b"\tfor <joe@example.org>; Mon, 2 Feb 2026 10:11:12 +0000\r\n"
    b"Date: Mon, 2 Feb 2026 10:11:11 +0000\r\nFrom: =?utf-8?q?Fr=C3=A9d=C3=A9ric?= <fred@example.com>\r\n"
    b"To: Joe <joe@example.org>\r\nSubject: Your order (number 4711) is on its way\r\n"
    b"Message-ID: <20260202101111.4711@example.com>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
)


def mail_of(size: int) -> bytes:
    """An ordinary mail of about so many bytes."""
    line = b"The quick brown fox jumps over the lazy dog, and so it goes on for a while.\r\n"
    return HEADER + line * max(1, (size - len(HEADER)) // len(line))


class FarEnd:
    """The running server, from the client's side."""

    def __init__(self, pipe: Connection, port: int) -> None:
        self._pipe = pipe
        self.port = port

    def deliver(self, first: int, count: int, size: int) -> None:
        """Let a mail of `size` bytes come to each of the users `first`, `first` + 1 and so on, by and by."""
        self._pipe.send((first, count, size))


@contextlib.asynccontextmanager
async def running(chain: str | None) -> AsyncIterator[FarEnd]:
    """A server for everybody, with TLS if there is a `chain` (PEM, key first)."""
    async with process(_main, chain) as (pipe, port):
        yield FarEnd(pipe, port)


@contextlib.asynccontextmanager
async def process(main: Callable[..., None], *args: object) -> AsyncIterator[tuple[Connection, int]]:
    """`main(pipe, *args)` in a process of its own; our end of the pipe, and the port that it sends first."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=main, args=(there, *args), daemon=True)
    process.start()
    try:
        there.close()
        yield here, await _port(here)
    finally:
        here.close()
        process.kill()
        process.join()


async def _port(pipe: Connection) -> int:
    try:
        port: int = await asyncio.to_thread(pipe.recv)
    except EOFError:
        raise BenchError("the benchmark's mail server did not start; see above why") from None
    return port


def _main(pipe: Connection, chain: str | None) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(pipe, chain))


async def _serve(pipe: Connection, chain: str | None) -> None:
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    tls = server_context(chain) if chain else None
    async with ImapServer(tls=tls, any_login=True, log_size=0) as server:

        def deliver() -> None:
            order: Any
            try:
                order = pipe.recv()
            except EOFError:
                done.set()
                return
            first, count, size = order
            raw = mail_of(size)
            for user in range(first, first + count):
                server.deliver(f"user{user}", raw)

        loop.add_reader(pipe.fileno(), deliver)
        pipe.send(server.port)
        await done.wait()
