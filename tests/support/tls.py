"""TLS for tests: throw-away certificates, and a server whose ciphertext is cut into segments of any size."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import trustme


def server_context(authority: trustme.CA, *, host: str = "localhost", days: int = 30) -> ssl.SSLContext:
    """A server's context with a certificate for `host` that expires in this many days; below 0 it has expired."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    now = datetime.now(UTC)
    certificate = authority.issue_cert(
        host, not_before=now - timedelta(days=90), not_after=now + timedelta(days=days)
    )
    certificate.configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    """A verifying context that trusts only this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


class Peer:
    """The server's side of one connection, after the handshake: encrypts and sends data."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject

    async def shake_hands(self, context: ssl.SSLContext) -> None:
        """Perform the handshake."""
        self._tls = context.wrap_bio(self._received, self._to_send, server_side=True)
        await self._do(self._tls.do_handshake)
        await self.send(self._to_send.read())

    async def _do(self, function: Callable[[], object]) -> object:
        while True:
            try:
                return function()
            except ssl.SSLWantReadError:
                await self.send(self._to_send.read())
                data = await self.reader.read(65536)
                if not data:
                    raise ConnectionResetError("the client is gone") from None
                self._received.write(data)

    def encrypt(self, data: bytes, *, record: int = 16384) -> bytes:
        """Encrypt `data` to TLS records of this many bytes."""
        for start in range(0, len(data), record):
            self._tls.write(data[start : start + record])
        return self._to_send.read()

    def close_notify(self) -> bytes:
        """The close_notify alert."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        return self._to_send.read()

    async def send(self, ciphertext: bytes, *, cut: int | None = None) -> None:
        """Send ciphertext in segments of `cut` bytes."""
        for start in range(0, len(ciphertext), cut or len(ciphertext) or 1):
            self.writer.write(ciphertext[start : start + cut] if cut else ciphertext)
            await self.writer.drain()

    async def read(self, size: int) -> bytes:
        """Read this many decrypted bytes of the client."""
        found = bytearray()
        while len(found) < size:
            piece = await self._do(lambda: self._tls.read(65536))
            assert isinstance(piece, bytes)
            if not piece:
                break
            found += piece
        return bytes(found)


@contextlib.asynccontextmanager
async def tls_peer(
    context: ssl.SSLContext, play: Callable[[Peer], Awaitable[None]]
) -> AsyncIterator[tuple[int, list[BaseException]]]:
    """Run a server that plays one role to each client; yields its port and its errors."""
    faults: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        try:
            await peer.shake_hands(context)
            await play(peer)
        except (Exception, asyncio.CancelledError) as error:  # reported to the test
            faults.append(error)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], faults
    finally:
        server.close()
