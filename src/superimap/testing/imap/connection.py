"""Server side of a connection: frames lines and literals, sends data, and closes by FIN or RST."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, cast

from superimap.testing.imap.syntax import LITERAL

MAX_LINE = 64 * 1024
MAX_LITERAL = 64 * 1024 * 1024
TLS_BUFFER = 16 * 1024
_RESET = struct.pack("ii", 1, 0)
_shared_buffer = bytearray(TLS_BUFFER)


class ServerConnection(asyncio.Protocol):
    """A server's end of a connection. Passes on each command in its parts, unless `busy`."""

    __slots__ = ("_answer", "_drained", "_inbox", "_need", "_out", "_parts", "busy", "transport")

    def __init__(self) -> None:
        self.transport = cast(asyncio.Transport, None)  # set by connection_made, before any use
        self.busy = False
        self._inbox: bytearray | None = None
        self._parts: list[bytes] | None = None
        self._need: int | None = None
        self._answer: Callable[[bytes], None] | None = None
        self._out: list[bytes] | None = None
        self._drained: asyncio.Future[None] | None = None

    def command_received(self, parts: list[bytes]) -> None:
        """Handle a complete command, given as text, literal, text, … in turn."""
        raise NotImplementedError

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        slim_tls(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._inbox = self._parts = self._answer = None
        self._wake()

    def data_received(self, data: bytes) -> None:
        if self._inbox is None:
            self._inbox = bytearray(data)
        else:
            self._inbox += data
        self.pump()

    def pause_writing(self) -> None:
        """Stop reading commands of a client that does not read the answers."""
        self._drained = asyncio.get_running_loop().create_future()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._wake()
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _wake(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    async def drain(self) -> None:
        """Wait until the client has read most of what was sent, or has disconnected; for hooks that send much."""
        self._flush()
        if self._drained is not None:
            await asyncio.shield(self._drained)

    # Framing.

    def pump(self) -> None:
        """Pass on complete commands, unless a command is in progress."""
        while self._inbox and not self.busy and not self.transport.is_closing():
            if self._need is not None:
                if len(self._inbox) < self._need:
                    return
                self._take_literal(self._need)
                continue
            end = self._inbox.find(b"\r\n")
            if end < 0:
                if len(self._inbox) > MAX_LINE:
                    self.send(b"* BYE Line too long\r\n")
                    self.close()
                return
            line = bytes(self._inbox[:end])
            del self._inbox[: end + 2]
            self._line_received(line)
        if not self._inbox:
            self._inbox = None

    def _take_literal(self, size: int) -> None:
        assert self._inbox is not None and self._parts is not None  # noqa: S101 - `_need` is set
        self._parts.append(bytes(self._inbox[:size]))
        del self._inbox[:size]
        self._need = None
        if not self._inbox:
            self._inbox = None

    def _line_received(self, line: bytes) -> None:
        if self._answer is not None:
            answer, self._answer = self._answer, None
            answer(line)
            return
        parts = self._parts or []
        parts.append(line)
        literal = LITERAL.search(line)
        if literal is None:
            self._parts = None
            self.command_received(parts)
            return
        size, waits = int(literal[1]), not literal[2]
        if size > MAX_LITERAL:
            self._refuse_literal(parts[0].split(b" ")[0], waits)
            return
        self._parts, self._need = parts, size
        if waits:
            self.send(b"+ Ready for literal data\r\n")

    def _refuse_literal(self, tag: bytes, waits: bool) -> None:
        self._parts = None
        self.send(b"%s NO [TOOBIG] Literal too big\r\n" % tag)
        if not waits:  # the client sends the literal without waiting (RFC 7888 section 4)
            self.send(b"* BYE Literal too big\r\n")
            self.close()

    def ask(self, prompt: bytes, answer: Callable[[bytes], None]) -> None:
        """Send a continuation request. The next line goes to `answer` instead of the command parser."""
        self._answer = answer
        self.send(b"+ %s\r\n" % prompt)

    def forget_input(self) -> None:
        """Drop pending input, which must not survive STARTTLS (RFC 9051 section 6.2.1)."""
        if self._inbox is not None:
            self._inbox.clear()

    # Sending and ending.

    def send(self, data: bytes) -> None:
        """Send raw bytes. While a command is being executed they are sent together with its answer."""
        if self._out is not None:
            self._out.append(data)
        elif not self.transport.is_closing():
            self.transport.write(data)

    def close(self) -> None:
        """End the connection by FIN, after pending data."""
        self._flush()
        self.transport.close()

    def reset(self) -> None:
        """End the connection by RST (SO_LINGER 0). Data that the kernel has not sent is lost."""
        self._flush()
        connection = self.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def _flush(self) -> None:
        out, self._out = self._out, None
        if out and not self.transport.is_closing():
            self.transport.write(b"".join(out))


def slim_tls(transport: asyncio.BaseTransport) -> None:
    """Let a TLS connection receive into one shared buffer of 16 KiB, instead of asyncio's 256 KiB for each.

    Safe, because asyncio passes on the received data before it receives again. No effect on other event loops.
    """
    protocol: Any = getattr(transport, "_ssl_protocol", None)
    if protocol is None or not hasattr(protocol, "_ssl_buffer_view"):
        return
    protocol.max_size = TLS_BUFFER
    protocol._ssl_buffer = _shared_buffer
    protocol._ssl_buffer_view = memoryview(_shared_buffer)
