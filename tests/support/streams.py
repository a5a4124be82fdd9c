"""A stream for tests, and a protocol that keeps what it receives."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

from superimap.imap.stream import Stream


class Recorder:
    """A protocol that keeps what it receives."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ends: list[Exception | None] = []
        self.transport: asyncio.BaseTransport | None = None
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: memoryview) -> None:
        self.data += data
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ends.append(exc)
        self._changed.set()

    async def until(self, size: int) -> None:
        """Wait for this number of bytes."""
        async with asyncio.timeout(30):
            while len(self.data) < size:
                self._changed.clear()
                await self._changed.wait()

    async def ended(self) -> Exception | None:
        """Wait for the end of the connection; return its error. It must be reported once."""
        async with asyncio.timeout(10):
            while not self.ends:
                self._changed.clear()
                await self._changed.wait()
        await asyncio.sleep(0.01)
        (why,) = self.ends
        return why


@contextlib.asynccontextmanager
async def opened(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Stream, Recorder]]:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setblocking(False)
    recorder = Recorder()
    connection = Stream(recorder, sock)
    try:
        if tls is not None:
            await connection.secure(tls, "localhost")
        connection.start()
        yield connection, recorder
    finally:
        connection.abort()
        await asyncio.sleep(0)
