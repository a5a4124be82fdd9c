"""The benchmark `hostile`: memory, and wake-ups of other sessions, while a server sends without end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.measure import BenchError, allow_files, resident_kib, resident_now_kib
from benchmarks.server_process import spawn_server
from benchmarks.session_group import SessionGroup, open_group
from superimap.imap.connection import connect
from superimap.imap.errors import ImapError
from superimap.imap.types import Login, ServerAddress, Timeouts

ATTACKS = ("literal", "line", "untagged")
"""Kinds of attack, which the client selects by its password.

`literal` announces 4 GiB and sends `mib` MiB; `line` never ends; `untagged` sends 300,000 untagged lines.
"""
UNTAGGED_LINES = 300_000
_BLOCK_BYTES = 64 * 1024
_GREETING = b"* OK [CAPABILITY IMAP4rev1 IDLE LITERAL+ SASL-IR AUTH=PLAIN] ready\r\n"
_EXAMINED = b"* 1 EXISTS\r\n* OK [UIDVALIDITY 1] so\r\n"


async def run(*, sessions: int, wakes: int, mib: int) -> dict[str, Any]:
    """Wake `sessions` in turn, `wakes` times without an attack and during each; returns the figures."""
    allow_files(sessions)
    figures: dict[str, Any] = {
        "bench": "hostile",
        "sessions": sessions,
        "mib": mib,
        "untagged": UNTAGGED_LINES,
    }
    async with open_group(tls=False) as group, spawn_server(_main, mib) as (_, port):
        await group.open_sessions(sessions, within=60 + sessions * 0.1)
        await _wake_ms(group, sessions, sessions)  # not measured: it warms caches up
        calm = await _wake_ms(group, sessions, wakes)
        growth: dict[str, float] = {}
        ratio: dict[str, float] = {}
        ended: dict[str, str] = {}
        for attack in ATTACKS:
            async with _Attack(port, attack) as under:
                busy = await _wake_ms(group, sessions, wakes)
                await under.first.wait()
            growth[attack], ended[attack] = round(under.growth_kib / 1024, 1), under.ended_by
            ratio[attack] = round(_p95(busy) / _p95(calm), 2)
        dropped = group.dropped
    return figures | {
        "rss_growth_mib": growth,
        "ended_by": ended,
        "others_p95_ms": round(_p95(calm), 2),
        "others_p95_ratio": ratio,
        "ended_only_it": dropped == 0 and all(ended.values()),
    }


class _Attack:
    """Repeats one attack on a session for the length of the block, at least once."""

    def __init__(self, port: int, name: str) -> None:
        self.first = asyncio.Event()
        self.growth_kib = 0.0
        self.ended_by = ""
        self._where = ServerAddress("localhost", port, "none")
        self._name = name

    async def __aenter__(self) -> _Attack:
        self._before = resident_kib(trim=True)
        self._tasks = [asyncio.create_task(self._suffer()), asyncio.create_task(self._look())]
        return self

    async def __aexit__(self, *_exception: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            self.growth_kib = max(self.growth_kib, resident_now_kib() - self._before)
            await asyncio.sleep(0.005)

    async def _suffer(self) -> None:
        timeouts = Timeouts(connect=60, command=60, fetch=60)
        while True:
            with contextlib.suppress(ImapError):
                async with connect(self._where, Login("victim", self._name), timeouts=timeouts) as client:
                    await client.examine("INBOX")
                    try:
                        await client.fetch_meta([1])
                    except ImapError as error:
                        self.ended_by = type(error).__name__
                        raise
                    finally:
                        self.first.set()


async def _wake_ms(group: SessionGroup, sessions: int, count: int) -> list[float]:
    """Deliver `count` mails one by one; returns the milliseconds until each was read and its session idled."""
    took = []
    for number in range(count):
        began = time.perf_counter()
        await group.deliver(5000, first=number % sessions, count=1, within=60)
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.005)
    return took


def _p95(took: list[float]) -> float:
    if not took:
        raise BenchError("nothing was measured")
    return sorted(took)[len(took) * 95 // 100]


def _main(pipe: Connection, mib: int) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(pipe, mib))


async def _serve(pipe: Connection, mib: int) -> None:
    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await _play(reader, writer, mib)
        writer.close()

    async with await asyncio.start_server(meet, "localhost", 0) as server:
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.Event().wait()


async def _play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mib: int) -> None:
    """Accept a login and EXAMINE, and answer each FETCH by the attack."""
    writer.write(_GREETING)
    attack = ""
    while line := await reader.readline():
        tag, _, command = line.partition(b" ")
        if command.upper().startswith(b"LOGIN"):
            attack = command.split()[-1].strip(b'"').decode()
        elif command.upper().startswith(b"EXAMINE"):
            writer.write(_EXAMINED)
        elif b"FETCH" in command.upper():
            async for block in _stream(attack, mib):
                writer.write(block)
                await writer.drain()
        writer.write(tag + b" OK done\r\n")


async def _stream(attack: str, mib: int) -> AsyncIterator[bytes]:
    blocks = mib * 1024 * 1024 // _BLOCK_BYTES
    if attack == "untagged":
        for number in range(0, UNTAGGED_LINES, 1000):
            yield b"".join(
                b"* %d FETCH (FLAGS (\\Seen))\r\n" % (each + 2) for each in range(number, number + 1000)
            )
        return
    yield b"* 1 FETCH (BODY[] {4294967295}\r\n" if attack == "literal" else b"* 1 FETCH (BODY[] "
    for _ in range(blocks):
        yield b"x" * _BLOCK_BYTES
