"""Connections to receivers: aiohttp's pool, dialling and TLS, with a protocol of ours that accepts odd answers.

aiohttp's own protocol rejects answers that curl accepts, and does not tell whether a connection that was closed
had been used before.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from superimap.dispatcher.answer_reader import CLOSED, MAX_HEAD_BYTES, AnswerReader
from superimap.domain.answers import is_success

KEEPALIVE_SECONDS = 4.0
"""Lifetime of an idle connection: many servers close one after 5 s, possibly just as a POST is sent."""

KEEPALIVE_HINT_PART = 0.8
"""Part of the lifetime that a receiver names in `Keep-Alive: timeout=` for which its connection is reused."""

MAX_PIECE_BYTES = 256 * 1024
"""Bytes of a body that are written at once; the next piece waits until the system has taken them."""

_NO_TIMEOUTS = aiohttp.ClientTimeout()  # the caller has a deadline for everything


class ReceiverConnection(ResponseHandler):
    """One connection, used for one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._answer: AnswerReader | None = None
        self._answered = loop.create_future()
        self._flushed = loop.create_future()  # done while the system takes what is written
        self._flushed.set_result(None)
        self._is_used = False
        self._is_fit = True
        self._usable_until = 0.0

    @property
    def is_used(self) -> bool:
        """Whether a request was sent on this connection before."""
        return self._is_used

    @property
    def is_stale(self) -> bool:
        """Whether a used connection is not fit for another request, or not any more."""
        return not self._is_fit or self._loop.time() > self._usable_until

    @property
    def should_close(self) -> bool:
        """Whether the pool must not keep this connection."""
        return self._answer is not None or self.is_stale

    async def exchange(self, head: bytes, body: bytes, answer: AnswerReader) -> None:
        """Send a request and read its answer. A lost connection is no exception but an error of `answer`.

        After a cancellation `answer` holds what came until then, and the pool closes the connection.
        """
        self._is_used = True
        self._answer, self._answered = answer, self._loop.create_future()
        is_sent = await self._send(head, body, answer)
        if is_sent:
            await self._answered
        self._answer = None
        self._is_fit = self._is_fit and is_sent and answer.can_reuse
        idle = KEEPALIVE_SECONDS
        if answer.head is not None and answer.head.idle_seconds is not None:
            idle = min(idle, answer.head.idle_seconds * KEEPALIVE_HINT_PART)
        self._usable_until = self._loop.time() + idle

    async def _send(self, head: bytes, body: bytes, answer: AnswerReader) -> bool:
        """Write the request; False if it is refused before its end, or the connection is lost.

        A 2xx that comes early does not end the request: receivers may read the body after they answered.
        """
        transport = self.transport
        if transport is None:
            answer.end(CLOSED)
            return False
        if len(body) <= MAX_PIECE_BYTES:
            transport.write(head + body)
            return True
        transport.set_write_buffer_limits(high=1, low=0)  # with 0, asyncio's TLS pauses while nothing waits
        transport.write(head)
        for start in range(0, len(body), MAX_PIECE_BYTES):
            transport.write(memoryview(body)[start : start + MAX_PIECE_BYTES])
            await self._flushed
            if transport.is_closing() or (answer.is_complete and not is_success(answer.status)):
                await self._answered  # connection_lost follows if the connection is lost
                return False
        return True

    def pause_writing(self) -> None:
        """Hold the next piece of the body back."""
        self._flushed = self._loop.create_future()

    def resume_writing(self) -> None:
        """Let the next piece be written."""
        _wake(self._flushed)

    def data_received(self, data: bytes) -> None:
        """Read the answer. Bytes that come without a request are none: a 408 before a close, or remains."""
        if self._answer is None:
            self.abort()
        elif self._answer.is_complete:
            self._is_fit = False
        else:
            self._answer.feed(data)
            if self._answer.is_complete:
                _wake(self._answered)
                if not is_success(self._answer.status):
                    _wake(self._flushed)

    def eof_received(self) -> None:
        """End the answer: no more of it will come, even if a part of the request is not sent yet."""
        self._end(None)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the answer. If the loss shows when writing, an answer may be waiting to be read."""
        if exc is not None:
            self._read_rest()
        self._end(None if exc is None else CLOSED)
        super().connection_lost(exc)

    def close(self) -> None:
        """Close without waiting for a receiver that does not read."""
        if self.transport is not None and self.transport.get_write_buffer_size():
            self.abort()
        else:
            super().close()

    def _read_rest(self) -> None:
        """Read what the system received before a reset; asyncio does not. With TLS nothing could decrypt it."""
        transport = self.transport
        if self._answer is None or transport is None or transport.get_extra_info("ssl_object") is not None:
            return
        with contextlib.suppress(OSError):
            if rest := os.read(transport.get_extra_info("socket").fileno(), MAX_HEAD_BYTES):
                self.data_received(rest)

    def _end(self, error: str | None) -> None:
        self._is_fit = False
        if self._answer is not None:
            self._answer.end(error)
        _wake(self._answered)
        _wake(self._flushed)


class ReceiverConnector(aiohttp.TCPConnector):
    """Pool of ReceiverConnections."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = functools.partial(_make_connection, self._loop)

    async def take(
        self, route: aiohttp.ClientRequest, *, is_new: bool = False
    ) -> tuple[Connection, ReceiverConnection]:
        """Take a connection from the pool, or make one. Those of the pool that are not fit are closed.

        Raises what dialling raises: aiohttp.ClientConnectorError and its subclasses.
        """
        while True:
            connection = await self.connect(route, [], _NO_TIMEOUTS)
            protocol = cast(ReceiverConnection, connection.protocol)
            if not protocol.is_used or not (is_new or protocol.is_stale):
                return connection, protocol
            connection.close()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _make_connection(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return ReceiverConnection(loop)
