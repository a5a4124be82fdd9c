"""TCP proxy that disturbs the network between two programs: slow, sliced, cut, reset, or a black hole."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

_RESET = struct.pack("ii", 1, 0)
CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class NetworkFault:
    """What is wrong with a connection, in both directions. By default, nothing."""

    latency: float = 0.0
    """Seconds by which each chunk is delayed."""
    slice: int = 0
    """Bytes forwarded at a time; 0 forwards all that was received."""
    bandwidth: float = 0.0
    """Bytes per second; 0 is no limit."""
    limit: int | None = None
    """Bytes from the server, counted since this was set, after which the connection ends by FIN."""
    reset: bool = False
    """At `limit` the connection ends by RST instead."""
    black_hole: bool = False
    """Nothing is forwarded any more, and nothing is closed."""
    slow_close: float = 0.0
    """Seconds by which a FIN is delayed."""


class ProxiedConnection:
    """One connection through the proxy. `fault` may be changed at any time; None uses that of the proxy."""

    def __init__(self, proxy: ChaosProxy, number: int) -> None:
        self.proxy = proxy
        self.number = number
        self.sent = 0
        """Bytes from the server that were forwarded."""
        self._own: NetworkFault | None = None
        self._since = (proxy.changes, 0)
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def fault(self) -> NetworkFault:
        """The fault that applies to this connection now."""
        return self.proxy.fault if self._own is None else self._own

    @fault.setter
    def fault(self, fault: NetworkFault | None) -> None:
        self._own, self._since = fault, (self.proxy.changes, self.sent)
        self.proxy.wake()

    def reset(self) -> None:
        """End both sides by RST."""
        for writer in self._writers:
            connection = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    def close(self) -> None:
        """End both sides by FIN."""
        for writer in self._writers:
            writer.close()

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward data until either side ends."""
        self._writers.append(writer)
        try:
            there, back = await asyncio.open_connection(*self.proxy.upstream)
        except OSError:
            self.reset()
            return
        self._writers.append(back)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, back, counts=False))
                group.create_task(self._carry(there, writer, counts=True))
        finally:
            for each in self._writers:
                each.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(self.fault.slice or CHUNK_BYTES):
                await self._delay(len(data))
                if counts and (room := self._room()) is not None:
                    data = data[:room]
                if counts:
                    self.sent += len(data)
                writer.write(data)
                await writer.drain()
                if counts and self._room() == 0:
                    self._cut()
                    return
            await self._delay(0)
            await asyncio.sleep(self.fault.slow_close)
        if not writer.is_closing():
            with contextlib.suppress(OSError):
                writer.write_eof()

    async def _delay(self, size: int) -> None:
        fault = self.fault
        pause = fault.latency + (size / fault.bandwidth if fault.bandwidth else 0.0)
        if pause:
            await asyncio.sleep(pause)
        elif fault.slice:
            await asyncio.sleep(0)  # otherwise the kernel would join the slices again
        await self.proxy.until(lambda: not self.fault.black_hole)

    def _room(self) -> int | None:
        """Return the bytes that may still be forwarded, or None if there is no limit."""
        if self.fault.limit is None:
            return None
        if self._own is None and self._since[0] != self.proxy.changes:
            self._since = (self.proxy.changes, self.sent)
        return max(0, self.fault.limit - (self.sent - self._since[1]))

    def _cut(self) -> None:
        if self.fault.reset:
            self.reset()
        else:
            self.close()


class ChaosProxy:
    """A proxy in front of a server: `async with ChaosProxy("127.0.0.1", imap.port) as proxy:`, dial `proxy.port`.

    `fault` applies to every connection without a fault of its own; `set(black_hole=True)` changes it at any time.
    `links` are the live connections, oldest first. `plan`, if given, is called with the number of each new
    connection, from 1, and returns its fault, or None for the proxy's.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        fault: NetworkFault | None = None,
        plan: Callable[[int], NetworkFault | None] | None = None,
    ) -> None:
        self.upstream = (host, port)
        self.host = "127.0.0.1"
        self.port = 0
        self.fault = fault or NetworkFault()
        self.plan = plan
        self.links: list[ProxiedConnection] = []
        self.connects = 0
        self.changes = 0
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.host, 0, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def set(self, **changes: Any) -> None:
        """Change the fault of all connections. Connections with a fault of their own keep it."""
        self.fault = replace(self.fault, **changes)
        self.changes += 1
        self.wake()

    def heal(self) -> None:
        """Remove the faults of all connections."""
        self.fault = NetworkFault()
        self.changes += 1
        for link in self.links:
            link.fault = None
        self.wake()

    def reset_all(self) -> None:
        """End every connection by RST."""
        for link in tuple(self.links):
            link.reset()

    def wake(self) -> None:
        """Wake the connections that hold data back."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it is checked at each change of a fault."""
        while not condition():
            await self._changed.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.connects += 1
        link = ProxiedConnection(self, self.connects)
        if self.plan is not None:
            link.fault = self.plan(self.connects)
        self.links.append(link)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await link.run(reader, writer)
        finally:
            self.links.remove(link)
