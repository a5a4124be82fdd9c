"""Socket transport, with or without TLS, that needs little memory per connection.

asyncio's TLS keeps a receive buffer of 256 KiB for each connection, and OpenSSL's memory BIOs never shrink. Here
OpenSSL reads the socket itself and releases its buffers whenever they are empty (SSL_MODE_RELEASE_BUFFERS, which
Python sets), and all connections of an event loop receive into one buffer.
"""

import asyncio
import socket
import ssl
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from superimap.imap import read_budget, tls
from superimap.imap.read_budget import MAX_READ_BYTES, LoopShare, must_pause

_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()
_NO_INFO: dict[str, Any] = {}
_NOTHING_TO_READ = (ssl.SSLWantReadError, BlockingIOError, InterruptedError)


class Receiver(Protocol):
    """The protocol side of a Stream: like asyncio.Protocol, but it receives views."""

    def connection_made(self, transport: asyncio.BaseTransport, /) -> None: ...
    def data_received(self, data: memoryview, /) -> None: ...
    def connection_lost(self, exc: Exception | None, /) -> None: ...


class Stream(asyncio.Transport):
    """A transport on a connected socket. `secure` adds TLS; `start` begins to read.

    The protocol receives a view of the shared buffer: `data_received` must copy the data.
    """

    __slots__ = (
        "_backlog", "_buffer", "_fd", "_loop", "_pause_timer", "_paused_until", "_protocol", "_read_size",
        "_reading", "_shares", "_sock", "_turn", "_writing",
    )  # fmt: skip

    def __init__(self, protocol: Receiver, sock: socket.socket, shares: tuple[LoopShare, ...] = ()) -> None:
        """`shares`: those of the groups to which the peer belongs."""
        super().__init__(_NO_INFO)
        self._loop = asyncio.get_running_loop()
        self._protocol: Receiver | None = protocol
        self._sock: socket.socket | None = sock  # None: closed
        self._fd = sock.fileno()
        self._backlog: bytearray | None = None  # data that the kernel has not accepted yet
        self._reading = self._writing = False  # the events registered with the event loop
        self._pause_timer: asyncio.TimerHandle | None = None
        self._paused_until = 0.0  # when the loop's time that the peer has used is down to its share
        self._shares = shares
        self._turn = 0.0  # in the groups, for which reading is paused
        self._read_size = read_budget.first_read_size(shares)
        if (buffer := _buffers.get(self._loop)) is None:
            buffer = _buffers[self._loop] = memoryview(bytearray(MAX_READ_BYTES))
        self._buffer = buffer

    def start(self) -> None:
        """Notify the protocol that it is connected, and begin to read."""
        assert self._protocol is not None  # noqa: S101 - set by the constructor
        self._protocol.connection_made(self)
        self.resume_reading()

    async def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Perform the TLS handshake and verify the peer. On any error the stream is closed.

        Raises ssl.SSLError if TLS fails; ConnectionError and other OSErrors if the connection fails.
        """
        self.pause_reading()
        if self._sock is None or self._backlog:
            self.abort()
            raise ConnectionAbortedError("the connection is not ready for TLS")
        try:
            self._sock = sock = tls.wrap(self._sock, context, host)
            await tls.shake_hands(sock, self._loop, self.charge, lambda: self._sock is None)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            self.abort()
            raise ConnectionResetError("closed by the server") from error
        except BaseException:
            self.abort()
            raise

    # Reading

    def pause_reading(self) -> None:
        """Stop reading; TCP flow control holds the peer back."""
        if self._pause_timer is not None:
            self._pause_timer.cancel()
            self._pause_timer = None
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """Read again."""
        self._pause_timer = None
        if not self._reading and self._sock is not None:
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)
            if tls.holds_more(self._sock):
                self._loop.call_soon(self._readable)

    def _readable(self) -> None:
        """Read one record. A peer with more to read is served again after the other connections."""
        began = self._loop.time()
        if self._shares and self._waits_for_turn(began):
            return
        while True:
            if (sock := self._sock) is None or self._protocol is None or not self._reading:
                return
            try:
                size = sock.recv_into(self._buffer, self._read_size)
            except ssl.SSLWantWriteError:  # a KeyUpdate needs an answer, which the kernel does not accept yet
                self._loop.remove_reader(self._fd)
                self._watch_writable()
                return
            except _NOTHING_TO_READ:  # part of a record, or session tickets, which take time too
                self._charge(began, 0)
                break
            except OSError as error:  # ssl.SSLError among them
                return self._end(tls.cause(error))
            if not size:
                return self._end(None)
            self._protocol.data_received(self._buffer[:size])
            if self._charge(began, size) or not tls.holds_more(sock):
                break
            began = self._loop.time()
        if self._backlog is not None:
            self._watch_writable()

    def _charge(self, began: float, received: int) -> bool:
        """Charge the peer for a read handled since `began`; return whether reading is paused for it."""
        now = self._loop.time()
        self._paused_until, self._read_size = read_budget.charge_read(
            self._paused_until, self._read_size, received=received, began=began, now=now
        )
        is_flood = must_pause(self._paused_until, now)
        for share in self._shares:
            share.charge(began=began, now=now, is_flood=is_flood)
            if is_flood:
                share.read_size = self._read_size
        if is_flood:
            self._pause_until(
                max(self._paused_until, read_budget.next_turn(self._shares, now, is_flood=True))
            )
        return is_flood

    def _waits_for_turn(self, now: float) -> bool:
        """Pause reading if a group of the peer is in debt and this is not the connection's turn."""
        if self._turn:  # it has come
            self._turn = 0.0
            return False
        turn = read_budget.next_turn(self._shares, now, is_flood=False)
        if not must_pause(turn, now):
            return False
        self._turn, self._read_size = turn, min(self._read_size, read_budget.first_read_size(self._shares))
        self._pause_until(turn)
        return True

    def _pause_until(self, moment: float) -> None:
        if self._reading:
            self.pause_reading()
            self._pause_timer = self._loop.call_at(moment, self.resume_reading)

    def charge(self, seconds: float) -> float:
        """Charge the peer for other work that it has caused; return the seconds until it may cause more."""
        now = self._loop.time()
        for share in self._shares:
            share.charge(began=now - seconds, now=now)
        self._paused_until = max(self._paused_until, now) + seconds / read_budget.WORK_SHARE
        until = max(self._paused_until, read_budget.next_turn(self._shares, now, is_flood=False))
        return until - now if must_pause(until, now) else 0.0

    # Writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data` now, or as soon as the kernel accepts it. After the end of the connection it is dropped."""
        if self._backlog is not None:
            self._backlog += data
        elif (sent := self._send(data)) < len(data) and self._sock is not None:
            self._backlog = bytearray(data[sent:])

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        """Return how many bytes of `data` were sent; the caller retries the rest when there is room."""
        sent = 0
        while self._sock is not None and sent < len(data):
            try:
                # OpenSSL must be given again at least the data that it has begun to send.
                sent += self._sock.send(memoryview(data)[sent:] if sent else data)
            except ssl.SSLWantReadError:  # the next read continues the write
                self._stop_writing()
                break
            except (ssl.SSLWantWriteError, BlockingIOError, InterruptedError):
                self._watch_writable()
                break
            except OSError as error:
                self._end(tls.cause(error))
        return sent

    def _writable(self) -> None:
        if backlog := self._backlog:
            del backlog[: self._send(backlog)]
        if not backlog:
            self._backlog = None
            self._stop_writing()
        if self._reading:  # a read may have been waiting for room
            self._loop.add_reader(self._fd, self._readable)
            self._readable()

    def _watch_writable(self) -> None:
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._fd, self._writable)

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)

    # Ending

    def is_closing(self) -> bool:
        """Whether the connection has ended."""
        return self._sock is None

    def close(self) -> None:
        """Like `abort`: the last command in IMAP, LOGOUT, has been answered by then."""
        self._end(None)

    def abort(self) -> None:
        """Close the socket at once; the protocol is notified in the next iteration of the event loop."""
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._sock is None:
            return
        self.pause_reading()
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._writing = False
        self._sock.close()
        self._sock = self._backlog = None
        self._loop.call_soon(self._notify_end, error)

    def _notify_end(self, error: Exception | None) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(error)
