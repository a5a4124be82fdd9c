"""The password form against mail servers that send without end."""

from __future__ import annotations

import asyncio
import contextlib
import time
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from superimap.api.routes import password
from tests.integration.connect.conftest import Scene, hidden_fields

FORM = "/users/connect/password"
TRIES = 4
MIB = 1 << 20
BLOCK = b"x" * 65536
GREETING = b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR LITERAL+] ready\r\n"
LINES = b"* 1 FETCH (FLAGS (\\Seen))\r\n" * 2000


async def send(writer: asyncio.StreamWriter, first: bytes, block: bytes, count: int) -> None:
    writer.write(first)
    for _ in range(count):
        writer.write(block)
        await writer.drain()


async def drip(writer: asyncio.StreamWriter, first: bytes) -> None:
    writer.write(first)
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


ATTACKS = {
    "literal": lambda to: send(to, b"* CAPABILITY {67108864}\r\n", BLOCK, 1024),
    "literal of 4 GB": lambda to: send(to, b"* 1 FETCH (BODY[] {4294967295}\r\n", BLOCK, 1024),
    "many literals": lambda to: send(to, b"* LIST (", b" {1024}\r\n" + b"x" * 1024, 65536),
    "endless line": lambda to: send(to, b"* OK ", BLOCK, 1024),
    "endless lines": lambda to: send(to, b"", LINES, 1000),
    "endless drip": lambda to: drip(to, b"* OK "),
    "drip into a literal": lambda to: drip(to, b"* CAPABILITY {67108864}\r\n"),
}


@contextlib.asynccontextmanager
async def hostile(attack: str, *, greets: bool) -> AsyncIterator[tuple[int, list[int]]]:
    """A server that attacks before its greeting, or after the first command; yields its port and its visitors."""
    visitors: list[int] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visitors.append(1)
        with contextlib.suppress(OSError):
            if greets:
                writer.write(GREETING)
                await reader.readline()
            await ATTACKS[attack](writer)
        writer.transport.abort()

    async with await asyncio.start_server(meet, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], visitors


@pytest.mark.parametrize("attack", ATTACKS)
async def test_four_tries_at_a_hostile_server_take_little_memory_and_time(scene: Scene, monkeypatch, attack):
    monkeypatch.setattr(password, "LOGIN_TIMEOUT_SECONDS", 0.5)
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(scene.browser())
        servers = [
            await stack.enter_async_context(hostile(attack, greets=greets)) for greets in (False, True)
        ]
        page = await http.get((await scene.user("GMAIL"))["connect_url"])
        form = {**hidden_fields(page.text), "username": "ann", "password": "right horse"}
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            begun = time.monotonic()
            for port, _ in servers * (TRIES // 2):
                await scene.rows("UPDATE providers SET imap_port = $1 WHERE code = 'GMAIL'", port)
                answer = await http.post(FORM, data=form)
                assert answer.status_code == 422
                assert "is not responding" in answer.text
            seconds = time.monotonic() - begun
            growth = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()

    assert [len(visitors) for _, visitors in servers] == [TRIES // 2] * 2
    assert growth < 8 * MIB, f"{growth / MIB:.1f} MiB"
    assert seconds < 20
