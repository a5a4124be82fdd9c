"""Link: one connection, its end, and the waits that it ends. It owns the transport."""

import asyncio
from collections.abc import Awaitable, Callable

from superimap.imap.errors import Disconnected, ImapError, TimedOut
from superimap.imap.stream import Stream
from superimap.imap.transcript import RedactedTranscript, Sink


def unchanged(error: ImapError) -> ImapError:
    """Return `error`: there is no secret to remove."""
    return error


class Link:
    """One connection. An error, a timeout or a cancellation while something is awaited closes it."""

    transcript: RedactedTranscript | None = None
    """Takes the lines, of the few connections that are logged. Of the class, so that others pay nothing for it."""

    def __init__(self, clean: Callable[[ImapError], ImapError]) -> None:
        """`clean` removes secrets from an error, because a server may echo them in any answer."""
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.lost: ImapError | None = None
        self._clean = clean
        self._change: asyncio.Future[None] | None = None
        self._is_closed = False
        self._closed: asyncio.Event | None = None

    @property
    def closed(self) -> asyncio.Event:
        """Set when the transport has closed. Created on first use, because few sessions need it."""
        if self._closed is None:
            self._closed = asyncio.Event()
            if self._is_closed:
                self._closed.set()
        return self._closed

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail all waiters. # upstream: woke none of them, so that each waited until its timeout"""
        reason = f"connection lost: {exc}" if exc else "connection closed by the server"
        self.fail(Disconnected(reason))
        self._is_closed = True
        if self._closed is not None:
            self._closed.set()

    def fail(self, error: ImapError) -> None:
        """End the connection with `error`. The first error is the one that waiters see."""
        if self.lost is None:
            # a traceback would keep the buffers alive
            self.lost = self._clean(error).with_traceback(None)
            self._give_up(self.lost)
            if self.transcript is not None:
                self.transcript.note(f"ended: {self.lost}")
        if self.transport is not None:
            self.transport.abort()
        self._wake()

    def _give_up(self, error: ImapError) -> None:
        """Drop everything that belongs to the connection, which `error` has ended."""
        raise NotImplementedError

    def trace(self, sink: Sink | None) -> None:
        """Hand the lines of the connection to `sink` from now on; None: to nobody."""
        self.transcript = None if sink is None else RedactedTranscript(sink, self._cleaned)

    def _cleaned(self, text: str) -> str:
        return str(self._clean(ImapError(text)))

    def check(self) -> None:
        """Raise the error that ended the connection, if it has ended."""
        if self.lost is not None:
            raise self.lost.with_traceback(None)

    def charge(self, seconds: float) -> float:
        """Charge the peer for work that its answers cause; return the seconds until more may be done for it."""
        return self.transport.charge(seconds) if isinstance(self.transport, Stream) else 0.0

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; raise the error that ended the connection. One waiter at a time."""
        while not condition():
            self.check()
            self._change = self.loop.create_future()
            try:
                await self._change
            finally:
                self._change = None

    def _wake(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    async def _within(self, seconds: float, doing: str, waiting: Awaitable[None]) -> None:
        """Await `waiting` under one deadline. A timeout or cancellation closes the connection."""
        timer = self.loop.call_later(seconds, self._time_out, seconds, doing)
        try:
            await waiting
        except asyncio.CancelledError:
            self.fail(Disconnected(f"closed by us in the middle of {doing}"))
            raise
        finally:
            timer.cancel()

    def _time_out(self, seconds: float, doing: str) -> None:
        self.fail(TimedOut(doing, seconds))

    def _write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)
