"""How do bytes go to and fro on a socket, in clear or over TLS, at the least cost in memory?

asyncio's own TLS keeps a receive buffer of 256 KiB for each connection, and OpenSSL's memory BIOs never shrink.
Here OpenSSL has the socket itself and gives its buffers back whenever they are empty (SSL_MODE_RELEASE_BUFFERS,
which Python sets), and all connections of an event loop receive into one buffer.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from superimap.imap.read_budget import MAX_READ_BYTES, after_read, must_rest

_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()
_NO_INFO: dict[str, Any] = {}
_LATER = (ssl.SSLWantReadError, BlockingIOError, InterruptedError)


class Receiver(Protocol):
    """What a Stream talks to: an asyncio.Protocol that takes views."""

    def connection_made(self, transport: asyncio.BaseTransport, /) -> None: ...
    def data_received(self, data: memoryview, /) -> None: ...
    def connection_lost(self, exc: Exception | None, /) -> None: ...


class Stream(asyncio.Transport):
    """A connected socket; `secure` puts TLS on it, `start` hands to the protocol what comes in.

    The protocol is given a view of the shared buffer and must have copied it when `data_received` returns.
    """

    __slots__ = (
        "_backlog", "_buffer", "_fd", "_loop", "_owed_until", "_protocol", "_reading", "_rest", "_size",
        "_sock", "_writing",
    )  # fmt: skip

    def __init__(self, protocol: Receiver, sock: socket.socket) -> None:
        super().__init__(_NO_INFO)
        self._loop = asyncio.get_running_loop()
        self._protocol: Receiver | None = protocol
        self._sock: socket.socket | None = sock  # None: ended
        self._fd = sock.fileno()
        self._backlog: bytearray | None = None  # what the kernel would not take yet
        self._reading = self._writing = False  # what the event loop looks out for
        self._rest: asyncio.TimerHandle | None = None
        self._owed_until = 0.0  # when the loop's time that it took will be no more than its share
        self._size = MAX_READ_BYTES  # bytes that the next read takes
        if (buffer := _buffers.get(self._loop)) is None:
            buffer = _buffers[self._loop] = memoryview(bytearray(MAX_READ_BYTES))
        self._buffer = buffer

    def start(self) -> None:
        """Tell the protocol that it is connected, and read."""
        assert self._protocol is not None  # noqa: S101 - it is new
        self._protocol.connection_made(self)
        self.resume_reading()

    async def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Begin TLS and verify the peer; whatever is raised, the stream is then ended.

        Raises ssl.SSLError; ConnectionError and other OSErrors if the connection is what fails.
        """
        self.pause_reading()
        if self._sock is None or self._backlog:
            self.abort()
            raise ConnectionAbortedError("the connection is not ready for TLS")
        try:
            sock = context.wrap_socket(
                self._sock,
                server_hostname=host,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=False,  # or else a reset, too, would look as an orderly end
            )
            self._sock = sock
            await self._shake_hands(sock)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            self.abort()
            raise ConnectionResetError("closed by the server") from error
        except BaseException:
            self.abort()
            raise

    async def _shake_hands(self, sock: ssl.SSLSocket) -> None:
        while True:
            try:
                sock.do_handshake()
            except ssl.SSLWantReadError:
                await self._ready(self._loop.add_reader, self._loop.remove_reader)
            except ssl.SSLWantWriteError:
                await self._ready(self._loop.add_writer, self._loop.remove_writer)
            else:
                return

    async def _ready(self, add: Callable[..., None], remove: Callable[[int], Any]) -> None:
        ready = self._loop.create_future()
        add(self._fd, _resolve, ready)
        try:
            await ready
        finally:
            if self._sock is not None:  # else the number may be another's by now
                remove(self._fd)

    # Reading

    def pause_reading(self) -> None:
        """Leave to the kernel what comes in."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """Read on."""
        self._rest = None
        if not self._reading and self._sock is not None:
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)
            if _holds_more(self._sock):
                self._loop.call_soon(self._readable)

    def _readable(self) -> None:
        """Take a record: who has more to say comes again after the others."""
        began = self._loop.time()
        while True:
            if (sock := self._sock) is None or self._protocol is None or not self._reading:
                return
            try:
                size = sock.recv_into(self._buffer, self._size)
            except ssl.SSLWantWriteError:  # a KeyUpdate must be answered, and the kernel does not take it
                self._loop.remove_reader(self._fd)
                self._look_for_room()
                return
            except _LATER:  # a part of a record, or nothing for us: session tickets, say, which take time too
                self._had_its_share(began)
                break
            except OSError as error:  # ssl.SSLError among them
                self._end(_cause(error))
                return
            if not size:
                self._end(None)
                return
            self._protocol.data_received(self._buffer[:size])
            if self._had_its_share(began) or not _holds_more(sock):
                break
            began = self._loop.time()
        if self._backlog is not None:
            self._look_for_room()

    def _had_its_share(self, began: float) -> bool:
        """Account for a read that was handled since `began`; the peer may have to rest now."""
        now = self._loop.time()
        self._owed_until, self._size = after_read(self._owed_until, self._size, began=began, now=now)
        if not must_rest(self._owed_until, now):
            return False
        if self._reading:
            self.pause_reading()
            self._rest = self._loop.call_at(self._owed_until, self.resume_reading)
        return True

    # Writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data` now, or as soon as the kernel takes it; after the end it goes nowhere."""
        if self._backlog is not None:
            self._backlog += data
        elif (sent := self._send(data)) < len(data) and self._sock is not None:
            self._backlog = bytearray(data[sent:])

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        """How much of `data` could be sent; what is left is tried again when there is room."""
        sent = 0
        while self._sock is not None and sent < len(data):
            try:
                # Never less than the last time: OpenSSL must be given again what it has begun to send.
                sent += self._sock.send(memoryview(data)[sent:] if sent else data)
            except ssl.SSLWantReadError:  # the next read goes on with it
                self._stop_writing()
                break
            except (ssl.SSLWantWriteError, BlockingIOError, InterruptedError):
                self._look_for_room()
                break
            except OSError as error:
                self._end(_cause(error))
        return sent

    def _writable(self) -> None:
        if backlog := self._backlog:
            del backlog[: self._send(backlog)]
        if not backlog:
            self._backlog = None
            self._stop_writing()
        if self._reading:  # a read may be what waited for room
            self._loop.add_reader(self._fd, self._readable)
            self._readable()

    def _look_for_room(self) -> None:
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._fd, self._writable)

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)

    # Ending

    def is_closing(self) -> bool:
        """It is ended."""
        return self._sock is None

    def close(self) -> None:
        """As `abort`: what is said last in IMAP, LOGOUT, is answered before."""
        self.abort()

    def abort(self) -> None:
        """Close the socket at once; the protocol is told soon."""
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
        self._loop.call_soon(self._tell_end, error)

    def _tell_end(self, error: Exception | None) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(error)


def _holds_more(sock: socket.socket | None) -> bool:
    """OpenSSL has bytes for us that no selector will tell of."""
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


def _cause(error: OSError) -> Exception | None:
    """What ended the connection; None if the peer has just closed it, be it without a close_notify.

    IMAP says itself how long things are, so nothing can be cut off unnoticed. Python's ssl tells a reset, or the
    kernel's giving up, as an end of file without a reason.
    """
    if not isinstance(error, ssl.SSLEOFError):
        return error
    if error.reason == "UNEXPECTED_EOF_WHILE_READING":
        return None
    return ConnectionResetError("reset by the peer, or timed out")


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
