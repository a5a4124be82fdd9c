"""TCP proxy between idler and mail server that records the dialogue of each connection."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from trials.fuzz.recorded import as_text, from_parts

_MAX_BYTES = 2_000_000  # of one dialogue; the rest is relayed only
_LOGIN = re.compile(rb'(LOGIN "?)([\w@.]+)("? )(.*)\r\n', re.IGNORECASE)


@dataclass
class Transcript:
    """The bytes of one connection, in order; `True` marks those of the server."""

    number: int
    began: float
    parts: list[tuple[bool, float, bytes]] = field(default_factory=list)
    size: int = 0

    def add(self, is_server: bool, piece: bytes) -> None:
        """Record bytes, unless there are too many already."""
        self.size += len(piece)
        if self.size <= _MAX_BYTES:
            self.parts.append((is_server, time.time() - self.began, piece))

    @property
    def user(self) -> str:
        """The login name, if the client sent one."""
        sent = b"".join(piece for is_server, _, piece in self.parts if not is_server)
        found = _LOGIN.search(sent)
        return found[2].decode() if found else ""

    def text(self) -> str:
        """The dialogue with a line for each line sent, without passwords."""
        lines = [f"connection {self.number} of {self.user or 'nobody'} at {self.began:.3f}"]
        for is_server, after, piece in self.parts:
            for line in _LOGIN.sub(rb"\1\2\3<password>\r\n", piece).decode("utf-8", "replace").splitlines():
                lines.append(f"{after:8.3f} {'S' if is_server else 'C'}: {line}")
        return "\n".join(lines) + "\n"


class RecordingProxy:
    """The proxy. It closes a connection if the server cannot be reached."""

    def __init__(self, port: int) -> None:
        """`port` is the server's, on the loopback."""
        self._target = port
        self.port = 0
        self.transcripts: list[Transcript] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[RecordingProxy]:
        """Listen for the length of the block."""
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()

    def write(self, folder: Path) -> None:
        """Write one file for each connection; those of an earlier run are deleted."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for each in self.transcripts:
            (folder / f"{each.number:03}-{each.user or 'nobody'}.txt").write_text(each.text())

    def write_corpus(self, folder: Path, name: str, *, user: str, count: int) -> None:
        """Write the first dialogues of a user as files of the fuzzer's corpus."""
        own = [each for each in self.transcripts if each.user == user][:count]
        for number, each in enumerate(own, 1):
            exchanges = from_parts((is_server, piece) for is_server, _, piece in each.parts)
            (folder / f"{name}-{number}.txt").write_text(as_text(exchanges))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transcript = Transcript(len(self.transcripts) + 1, time.time())
        self.transcripts.append(transcript)
        try:
            own_reader, own_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        ways = [
            asyncio.create_task(_relay(reader, own_writer, transcript, is_server=False)),
            asyncio.create_task(_relay(own_reader, writer, transcript, is_server=True)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, own_writer):
            end.close()
        for way in ways:
            way.cancel()


async def _relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, transcript: Transcript, *, is_server: bool
) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            transcript.add(is_server, piece)
            writer.write(piece)
            await writer.drain()
