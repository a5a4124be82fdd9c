"""Scripted IMAP server: plays exact bytes, for protocol errors that a correct server never makes."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeAlias

_RESET = struct.pack("ii", 1, 0)
MAX_LINE = 1024 * 1024


class ScriptError(AssertionError):
    """The client did not send what the script expects."""


class Tag:
    """Placeholder in `send` for the tag of the last expected line."""


TAG = Tag()


class Dialogue:
    """One connection while its script is played. Steps work with it; tests inspect `received`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, changed: asyncio.Condition
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.received: list[bytes] = []
        self.tag = b""
        self.finished = False
        self._changed = changed

    async def finish(self) -> None:
        """Note that the script has ended."""
        self.finished = True
        async with self._changed:
            self._changed.notify_all()

    async def line(self) -> bytes:
        """Return the client's next line without CRLF. Raises ScriptError if the connection ends first."""
        try:
            line = await self.reader.readuntil(b"\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise ScriptError("the client closed the connection instead of sending a line") from error
        self.received.append(line[:-2])
        return line[:-2]

    async def write(self, data: bytes) -> None:
        """Send bytes in one write. A client that has disconnected is no error."""
        if not self.writer.is_closing():
            self.writer.write(data)
            try:
                await self.writer.drain()
            except ConnectionError:
                return


Step: TypeAlias = Callable[[Dialogue], Awaitable[None]]
"""One action of the server: any coroutine function that takes a Dialogue."""


def expect(pattern: bytes, *, within: float = 10.0) -> Step:
    """Read a line that `pattern` (a regex, ignoring case) must match at its start; its first word is the tag.

    If it does not match, or does not arrive `within` seconds, the server raises a ScriptError when it ends.
    """
    regex = re.compile(pattern, re.IGNORECASE | re.DOTALL)

    async def step(dialogue: Dialogue) -> None:
        try:
            async with asyncio.timeout(within):
                line = await dialogue.line()
        except TimeoutError as error:
            raise ScriptError(f"no line within {within} s, expected {pattern!r}") from error
        if regex.match(line) is None:
            raise ScriptError(f"expected {pattern!r}, not {line!r}")
        if line.upper() != b"DONE":  # DONE belongs to the IDLE before it
            dialogue.tag = line.split(b" ")[0]

    return step


def expect_bytes(size: int, *, within: float = 10.0) -> Step:
    """Read exactly `size` bytes, such as a literal."""

    async def step(dialogue: Dialogue) -> None:
        try:
            async with asyncio.timeout(within):
                dialogue.received.append(await dialogue.reader.readexactly(size))
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
            raise ScriptError(f"expected {size} bytes") from error

    return step


def send(*pieces: bytes | Tag) -> Step:
    """Send the pieces in one write (one segment, if small). TAG stands for the tag of the last expected line."""

    async def step(dialogue: Dialogue) -> None:
        await dialogue.write(b"".join(dialogue.tag if isinstance(piece, Tag) else piece for piece in pieces))

    return step


def drip(data: bytes, *, size: int = 1, every: float = 0.01) -> Step:
    """Send `data` in pieces of `size` bytes, with a pause of `every` seconds after each."""

    async def step(dialogue: Dialogue) -> None:
        for start in range(0, len(data), size):
            await dialogue.write(data[start : start + size])
            await asyncio.sleep(every)

    return step


def wait(until: float | asyncio.Event) -> Step:
    """Wait for `until` seconds, or until the test sets the event."""

    async def step(_dialogue: Dialogue) -> None:
        if isinstance(until, asyncio.Event):
            await until.wait()
        else:
            await asyncio.sleep(until)

    return step


def wait_closed() -> Step:
    """Wait until the client has closed the connection; drop what it sends."""

    async def step(dialogue: Dialogue) -> None:
        try:
            while await dialogue.reader.read(65536):
                pass
        except ConnectionError:
            return

    return step


def hang() -> Step:
    """Keep the connection open, and neither send nor read any more."""

    async def step(dialogue: Dialogue) -> None:
        await dialogue.finish()
        await asyncio.get_running_loop().create_future()

    return step


def close() -> Step:
    """End the connection by FIN."""

    async def step(dialogue: Dialogue) -> None:
        dialogue.writer.close()

    return step


def reset() -> Step:
    """End the connection by RST (SO_LINGER 0)."""

    async def step(dialogue: Dialogue) -> None:
        connection = dialogue.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        dialogue.writer.transport.abort()

    return step


def starttls(context: ssl.SSLContext) -> Step:
    """Begin TLS. The step before it is usually `send(TAG, b" OK go ahead\\r\\n")`."""

    async def step(dialogue: Dialogue) -> None:
        await dialogue.writer.start_tls(context)

    return step


class ScriptedServer:
    """Plays a script to each client: `async with ScriptedServer(send(b"* OK\\r\\n"), hang()) as server:`.

    Every connection plays the same steps, unless `then` adds other scripts for the second connection, the third,
    and so on; the last script repeats. After its last step a connection stays open until the client closes it. On
    exit the server raises deviations of the client as an ExceptionGroup of ScriptErrors.
    """

    def __init__(
        self, *steps: Step, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.host = host
        self.port = port
        self.tls = tls
        self.scripts: list[Sequence[Step]] = [steps]
        self.dialogues: list[Dialogue] = []
        self.errors: list[Exception] = []
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    def then(self, *steps: Step) -> Self:
        """Play these steps to the connection after those that already have a script."""
        self.scripts.append(steps)
        return self

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(
            self._play, self.host, self.port, ssl=self.tls, limit=MAX_LINE
        )
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listener is not None:
            self._listener.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.errors and error is None:
            raise ExceptionGroup("the client deviated from the script", self.errors)

    async def finished(self, count: int = 1, timeout: float = 10.0) -> None:  # noqa: ASYNC109
        """Wait until `count` connections have played all steps. Raises the errors that occurred until then."""
        async with asyncio.timeout(timeout), self._changed:
            await self._changed.wait_for(
                lambda: self.errors or sum(dialogue.finished for dialogue in self.dialogues) >= count
            )
        if self.errors:
            raise ExceptionGroup("the client deviated from the script", self.errors)

    def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialogue = Dialogue(reader, writer, self._changed)
        steps = self.scripts[min(len(self.dialogues), len(self.scripts) - 1)]
        self.dialogues.append(dialogue)
        self._spawn(self._run(dialogue, steps))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, dialogue: Dialogue, steps: Sequence[Step]) -> None:
        try:
            for step in steps:
                await step(dialogue)
            await dialogue.finish()
            await wait_closed()(dialogue)
        except Exception as error:  # reported to the test, not to the event loop
            self.errors.append(error)
            await dialogue.finish()
        finally:
            dialogue.writer.transport.abort()
