"""TLS for tests: throw-away certificates, and a server's end whose ciphertext is sent as the test cuts it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import trustme


def server_context(authority: trustme.CA, *, host: str = "localhost", days: int = 30) -> ssl.SSLContext:
    """A server's context with a certificate for `host`, which ends in so many days; below 0 it ended before."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    now = datetime.now(UTC)
    certificate = authority.issue_cert(
        host, not_before=now - timedelta(days=90), not_after=now + timedelta(days=days)
    )
    certificate.configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    """A context that verifies, and trusts nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


class Peer:
    """The server's end of one connection, after the handshake: it encrypts, and sends what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject

    async def shake_hands(self, context: ssl.SSLContext) -> None:
        """Do the handshake."""
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
        """`data` in TLS records of so many bytes."""
        for start in range(0, len(data), record):
            self._tls.write(data[start : start + record])
        return self._to_send.read()

    def close_notify(self) -> bytes:
        """What says that nothing more will come."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        return self._to_send.read()

    async def send(self, ciphertext: bytes, *, cut: int | None = None) -> None:
        """Send it, in segments of `cut` bytes."""
        for start in range(0, len(ciphertext), cut or len(ciphertext) or 1):
            self.writer.write(ciphertext[start : start + cut] if cut else ciphertext)
            await self.writer.drain()

    async def read(self, size: int) -> bytes:
        """So many bytes of the client, decrypted."""
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
    """A server that plays one role with each client; its port, and what went wrong there."""
    faults: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        try:
            await peer.shake_hands(context)
            await play(peer)
        except (Exception, asyncio.CancelledError) as error:  # told to the test
            faults.append(error)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], faults
    finally:
        server.close()
