"""The fake IMAP server in a process of its own, for benchmarks of sessions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import cache
from multiprocessing.connection import Connection
from random import Random
from string import ascii_lowercase
from textwrap import wrap
from typing import Any

from benchmarks.certificate import server_context
from benchmarks.server_process import spawn_server
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


@cache
def mail_of(size: int) -> bytes:
    """An ordinary mail of about `size` bytes: the same for each size, and no easier to compress than prose."""
    random = Random(size)  # noqa: S311 - of text
    syllables = ["".join(random.choices(ascii_lowercase, k=random.randint(1, 4))) for _ in range(400)]
    text = " ".join("".join(random.choices(syllables, k=random.randint(1, 3))) for _ in range(size // 4))
    return HEADER + "\r\n".join(wrap(text[: max(1, size - len(HEADER))], 72)).encode() + b"\r\n"


class MailServerProcess:
    """A running server, controlled through a pipe."""

    def __init__(self, pipe: Connection, port: int) -> None:
        self._pipe = pipe
        self.port = port

    def deliver(self, first: int, count: int, size: int) -> None:
        """Order a mail of `size` bytes for each of `count` users from number `first` on; does not wait."""
        self._pipe.send((first, count, size))


@contextlib.asynccontextmanager
async def running(chain: str | None) -> AsyncIterator[MailServerProcess]:
    """Run a server that accepts every login, with TLS if there is a `chain` (PEM, key first)."""
    async with spawn_server(_main, chain) as (pipe, port):
        yield MailServerProcess(pipe, port)


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
