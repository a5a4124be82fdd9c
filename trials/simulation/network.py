"""A network in memory between an idler and the scripted mail server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from superimap.imap import transport
from superimap.imap.errors import Unreachable
from superimap.testing import ImapServer

CONNECT_SECONDS = 0.05


class Pipe(asyncio.Transport):
    """One end of a connection in memory. What is written arrives in the next step of the loop, in order."""

    def __init__(self, receiver: Any) -> None:
        super().__init__({})
        self.peer: Pipe
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []
        self._is_paused = self._is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._is_closed:
            self._loop.call_soon(self.peer._arrive, bytes(data))

    def _arrive(self, data: bytes) -> None:
        if self._is_closed:
            return
        if self._is_paused:
            self._waiting.append(data)
        else:
            self._receiver.data_received(data)

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self._arrive(data)

    def is_closing(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        if not self._is_closed:
            self._loop.call_soon(self.peer._end)
            self._end()

    def abort(self) -> None:
        self.close()

    def _end(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._loop.call_soon(self._receiver.connection_lost, None)


class Network:
    """The connections to one server. `vanish` ends all without the client's learning of it: the client is dead."""

    def __init__(self, server: ImapServer) -> None:
        self._server = server
        self._clients: list[Pipe] = []
        self.is_reachable = True

    def connect(self, protocol: Any) -> None:
        """Connect a client."""
        session = self._server._session()
        client, server = Pipe(protocol), Pipe(session)
        client.peer, server.peer = server, client
        self._clients.append(client)
        session.connection_made(server)
        protocol.connection_made(client)

    def vanish(self) -> None:
        """Take all clients off the network."""
        clients, self._clients = self._clients, []
        for client in clients:
            if not client._is_closed:
                client._is_closed = True
                client.peer._end()

    @contextlib.contextmanager
    def in_place_of_sockets(self) -> Iterator[None]:
        """Let all connections of the IMAP client go to this server inside the block."""
        dial, attach = transport.dial, transport.attach

        async def dial_here(_server: Any, **_options: Any) -> Any:
            await asyncio.sleep(CONNECT_SECONDS)
            if not self.is_reachable:
                raise Unreachable("simulated")
            return None

        async def attach_here(protocol: Any, _sock: Any, _server: Any, _tls: Any) -> None:
            self.connect(protocol)

        transport.dial, transport.attach = dial_here, attach_here  # type: ignore[assignment]
        try:
            yield
        finally:
            transport.dial, transport.attach = dial, attach
