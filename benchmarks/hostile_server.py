"""A mail server that accepts every login and then sends without end; the password selects the attack."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from multiprocessing.connection import Connection

UNTAGGED_LINES = 300_000
HELD_MIB = 25
_BLOCK_BYTES = 64 * 1024
_GREETING = b"* OK [CAPABILITY IMAP4rev1 IDLE LITERAL+ SASL-IR AUTH=PLAIN] ready\r\n"
_EXAMINED = b"* 1 EXISTS\r\n* OK [UIDVALIDITY 1] so\r\n"
_LAST_UID = 4_294_967_295

Attack = Callable[[int], AsyncIterator[bytes]]
"""Yields what is sent before the tagged answer. The argument is a volume in MiB."""


async def literal(mib: int) -> AsyncIterator[bytes]:
    """Announce 4 GiB and send `mib`."""
    yield b"* 1 FETCH (BODY[] {4294967295}\r\n"
    async for block in _filler(mib):
        yield block


async def line(mib: int) -> AsyncIterator[bytes]:
    """Send a line that never ends."""
    yield b"* 1 FETCH (BODY[] "
    async for block in _filler(mib):
        yield block


async def untagged(_mib: int) -> AsyncIterator[bytes]:
    """Send 300,000 untagged lines."""
    for number in range(0, UNTAGGED_LINES, 1000):
        yield b"".join(b"* %d FETCH (FLAGS (\\Seen))\r\n" % (2 + number + each) for each in range(1000))


async def literal_flood(_mib: int) -> AsyncIterator[bytes]:
    """Send 28,000 empty literals in one response."""
    yield b"* 1 FETCH (X" + b" {0}\r\n" * 28_000 + b")\r\n"


async def held(_mib: int) -> AsyncIterator[bytes]:
    """Send a literal of 25 MiB but for its last byte, and hold the answer open."""
    yield b"* 1 FETCH (BODY[] {%d}\r\n" % ((HELD_MIB << 20) + 1)
    async for block in _filler(HELD_MIB):
        yield block
    await asyncio.Event().wait()


async def slow_drip(_mib: int) -> AsyncIterator[bytes]:
    """Announce a literal of 25 MiB and send it byte by byte."""
    yield b"* 1 FETCH (BODY[] {%d}\r\n" % (HELD_MIB << 20)
    while True:
        yield b"x"
        await asyncio.sleep(0.02)


async def esearch(_mib: int) -> AsyncIterator[bytes]:
    """Name all UIDs eight times."""
    yield b"* ESEARCH UID ALL 1:%d\r\n" % _LAST_UID * 8


async def search_line(_mib: int) -> AsyncIterator[bytes]:
    """Name 500,000 UIDs with gaps in one line."""
    yield b"* SEARCH"
    for first in range(10_000_000, 11_000_000, 20_000):
        yield b"".join(b" %d" % uid for uid in range(first, first + 20_000, 2))
    yield b"\r\n"


async def list_flood(_mib: int) -> AsyncIterator[bytes]:
    """List 90,000 folders."""
    for first in range(0, 90_000, 1000):
        yield b"".join(b'* LIST () "/" "folder %d"\r\n' % (first + each) for each in range(1000))


ATTACKS: dict[str, tuple[bytes, Attack]] = {
    "literal": (b"FETCH", literal),
    "line": (b"FETCH", line),
    "untagged": (b"FETCH", untagged),
    "literal-flood": (b"FETCH", literal_flood),
    "held": (b"FETCH", held),
    "slow-drip": (b"FETCH", slow_drip),
    "esearch": (b"SEARCH", esearch),
    "search-line": (b"SEARCH", search_line),
    "list-flood": (b"LIST", list_flood),
    "invented-uids": (b":* ", esearch),
}
"""Each attack with the command that it answers. `invented-uids` claims UIDs and hands no mail over."""
CLAIMER_PASSWORD = "secret"  # noqa: S105 - of users whom a real idler watches
_EMPTY = b"* 0 EXISTS\r\n* OK [UIDVALIDITY 1] so\r\n"


async def _filler(mib: int) -> AsyncIterator[bytes]:
    for _ in range((mib << 20) // _BLOCK_BYTES):
        yield b"x" * _BLOCK_BYTES


def main(pipe: Connection, mib: int) -> None:
    """Serve, after sending the port. In earnest it is another machine: it yields to the other processes."""
    os.nice(19)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(pipe, mib))


async def _serve(pipe: Connection, mib: int) -> None:
    conversations = set[
        asyncio.Task[object] | None
    ]()  # one that waits for ever would be collected as garbage

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await _play(reader, writer, mib)
        writer.close()

    async with await asyncio.start_server(meet, "localhost", 0, backlog=1024) as server:
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()


async def _play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mib: int) -> None:
    writer.write(_GREETING)
    word, attack, examined = *ATTACKS["literal"], _EXAMINED
    while command := await reader.readline():
        tag, _, rest = command.upper().partition(b" ")
        if rest.startswith(b"LOGIN"):
            name = command.split()[-1].strip(b'"').decode()
            if name == CLAIMER_PASSWORD:
                name, examined = "invented-uids", _EMPTY
            word, attack = ATTACKS[name]
        elif rest.startswith((b"EXAMINE", b"SELECT")):
            writer.write(examined)
        elif rest.startswith(b"IDLE"):
            writer.write(b"+ idling\r\n* 1 EXISTS\r\n")
            await reader.readline()
        elif word in rest.replace(b"\r\n", b" "):
            async with contextlib.aclosing(attack(mib)) as blocks:  # type: ignore[type-var]
                async for block in blocks:
                    writer.write(block)
                    await writer.drain()
        elif b"SEARCH" in rest:  # asked again, it knows nothing of what it has claimed
            writer.write(b"* SEARCH\r\n")
        writer.write(tag + b" OK done\r\n")
