"""HTTP connections of the API: how many may be open, and how long each may take to send and to read."""

from __future__ import annotations

import asyncio
import logging
import resource
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 800
RESERVED_FILES = 200
"""Open files that are left to the database, the doorbells, outgoing connections and logs."""
HEADER_TIMEOUT_SECONDS = 10.0
UNREAD_TIMEOUT_SECONDS = 30.0
KEEP_ALIVE_SECONDS = 75
CHECK_SECONDS = 1.0


class Phase(StrEnum):
    """What a connection is waiting for."""

    RECEIVING = "receiving"
    """The client: it has not sent a whole request header, or sends a body that is no longer wanted."""
    ANSWERING = "answering"
    """The application."""
    SENDING = "sending"
    """The client: it does not read the rest of an answer."""
    IDLE = "idle"
    """The next request. uvicorn closes the connection after KEEP_ALIVE_SECONDS."""


PHASE_TIMEOUT_SECONDS = {
    Phase.RECEIVING: HEADER_TIMEOUT_SECONDS,
    Phase.ANSWERING: float("inf"),  # EdgeMiddleware limits the time of a request
    Phase.SENDING: UNREAD_TIMEOUT_SECONDS,
    Phase.IDLE: KEEP_ALIVE_SECONDS + 5.0,
}


def connection_limit(open_files: int) -> int:
    """The number of connections for a limit of open files: 800, or less where that leaves too few files."""
    return min(MAX_CONNECTIONS, max(open_files - RESERVED_FILES, open_files // 2))


@dataclass(frozen=True, slots=True)
class ObservedPhase:
    """The phase of a connection, the request that it belongs to, and since when it was observed."""

    phase: Phase
    request: RequestResponseCycle | None
    since: float


class OpenConnections:
    """The open connections of the API, the oldest first."""

    def __init__(self, *, limit: int | None = None) -> None:
        self._limit = limit or connection_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._open: dict[HttpConnection, ObservedPhase] = {}
        self._displaced = 0

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: HttpConnection, *, now: float) -> None:
        """Take up a connection. Beyond the limit another one without a request is closed for it.

        That is the oldest that never sent a whole request, or else the oldest idle one. If every connection has a
        request in progress, the new one is refused with 503.
        """
        if len(self._open) >= self._limit:
            self._displaced += 1
            displaced = self._find_displaceable()
            if displaced is None:
                connection.refuse()
                return
            displaced.drop()
            self.forget(displaced)
        self._open[connection] = ObservedPhase(Phase.RECEIVING, None, now)

    def forget(self, connection: HttpConnection) -> None:
        """Remove a connection that is closed."""
        self._open.pop(connection, None)

    def check(self, *, now: float) -> None:
        """Close the connections whose client takes too long."""
        for connection, seen in list(self._open.items()):
            phase = connection.phase
            if phase is not seen.phase or connection.cycle is not seen.request:
                self._open[connection] = ObservedPhase(phase, connection.cycle, now)
            elif now - seen.since >= PHASE_TIMEOUT_SECONDS[phase]:
                connection.time_out()
        if self._displaced:
            log.warning("too many connections; some were closed", extra={"connections": self._displaced})
            self._displaced = 0

    async def check_periodically(self) -> None:
        """Check all connections every CHECK_SECONDS until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            self.check(now=loop.time())

    def _find_displaceable(self) -> HttpConnection | None:
        idle = None
        for connection in self._open:
            if connection.phase is Phase.RECEIVING and connection.cycle is None:
                return connection
            if idle is None and connection.phase is not Phase.ANSWERING:
                idle = connection
        return idle


class HttpConnection(H11Protocol):
    """uvicorn's connection, registered in OpenConnections."""

    def __init__(self, *args: Any, connections: OpenConnections, **options: Any) -> None:
        super().__init__(*args, **options)
        self._registry = connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Register the connection."""
        super().connection_made(transport)
        self._registry.admit(self, now=self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from the registry."""
        self._registry.forget(self)
        super().connection_lost(exc)

    @property
    def phase(self) -> Phase:
        """What the connection is waiting for."""
        if self.cycle is not None and not self.cycle.response_complete and not self.transport.is_closing():
            return Phase.ANSWERING
        if self.transport.is_closing() or self.transport.get_write_buffer_size():
            return Phase.SENDING
        is_unfinished = self.cycle is None or self.conn.their_state is not h11.IDLE
        return Phase.RECEIVING if is_unfinished or self.conn.trailing_data[0] else Phase.IDLE

    def time_out(self) -> None:
        """Close the connection, with 408 if a part of a request header has arrived (RFC 9110 section 15.5.9)."""
        if self.phase is Phase.RECEIVING and self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            self._answer("408 Request Timeout", "The request header did not arrive in time.")
        else:
            self.drop()

    def refuse(self) -> None:
        """Answer 503 and close the connection, before anything is read from it."""
        self._answer("503 Service Unavailable", "Too many connections are open.", "Retry-After: 1\r\n")

    def drop(self) -> None:
        """Close the connection at once, with what was not sent."""
        self.transport.abort()

    def _answer(self, status: str, text: str, headers: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n{headers}"
        self.transport.write(f"{head}Connection: close\r\n\r\n{text}".encode())
        self.transport.close()
