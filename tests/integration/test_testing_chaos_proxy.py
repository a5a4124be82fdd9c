"""The proxy disturbs one connection or all of them, while they run."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace

import pytest
import pytest_asyncio

from superimap.testing import ChaosProxy, NetworkFault


@pytest_asyncio.fixture
async def echo():
    """The port of an echo server."""
    tasks: set[asyncio.Task] = set()

    async def talk(reader, writer):
        tasks.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for task in tasks:
        task.cancel()


class Caller:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def say(self, data: bytes, *, within: float = 5.0) -> bytes:
        self.writer.write(data)
        async with asyncio.timeout(within):
            return await self.reader.readexactly(len(data))


@contextlib.asynccontextmanager
async def call(proxy: ChaosProxy):
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()


async def test_without_a_fault_data_and_the_end_are_forwarded(echo):
    async with ChaosProxy("127.0.0.1", echo) as proxy, call(proxy) as caller:
        data = bytes(range(256)) * 1000

        assert await caller.say(data) == data
        caller.writer.write_eof()
        assert await caller.reader.read() == b""


async def test_latency_and_bandwidth_delay_data(echo):
    async with (
        ChaosProxy("127.0.0.1", echo, fault=NetworkFault(latency=0.05)) as proxy,
        call(proxy) as caller,
    ):
        began = time.monotonic()
        await caller.say(b"there and back")
        assert time.monotonic() - began >= 0.1

        proxy.set(latency=0.0, bandwidth=20_000)
        began = time.monotonic()
        await caller.say(b"x" * 2000)
        assert time.monotonic() - began >= 0.2


async def test_slices_limit_the_bytes_forwarded_at_a_time(echo):
    fault = NetworkFault(slice=3, latency=0.002)
    async with ChaosProxy("127.0.0.1", echo, fault=fault) as proxy, call(proxy) as caller:
        caller.writer.write(b"123456789")
        pieces = []
        while sum(map(len, pieces)) < 9:
            pieces.append(await caller.reader.read(100))

    assert b"".join(pieces) == b"123456789"
    assert max(map(len, pieces)) < 9


@pytest.mark.parametrize("reset", [False, True])
async def test_a_limit_ends_the_connection_after_its_bytes(echo, reset):
    fault = NetworkFault(limit=10, reset=reset)
    async with ChaosProxy("127.0.0.1", echo, fault=fault) as proxy, call(proxy) as caller:
        caller.writer.write(b"x" * 25)

        if reset:
            with pytest.raises(ConnectionResetError):
                while await caller.reader.read(100):
                    pass
        else:
            assert await caller.reader.read() == b"x" * 10


async def test_a_black_hole_keeps_the_connection_and_forwards_nothing_until_healed(echo):
    async with ChaosProxy("127.0.0.1", echo) as proxy, call(proxy) as one, call(proxy) as two:
        await one.say(b"1")
        await two.say(b"2")
        proxy.links[0].fault = replace(proxy.fault, black_hole=True)

        with pytest.raises(TimeoutError):
            await one.say(b"lost?", within=0.1)
        assert await two.say(b"still here") == b"still here"
        proxy.set(black_hole=True)
        with pytest.raises(TimeoutError):
            await two.say(b"lost?", within=0.1)
        proxy.heal()
        assert await one.reader.readexactly(5) == b"lost?"
        assert await two.reader.readexactly(5) == b"lost?"


async def test_a_plan_chooses_the_fault_of_each_connection(echo):
    def plan(number: int) -> NetworkFault | None:
        return NetworkFault(limit=0, reset=True) if number == 1 else None

    async with ChaosProxy("127.0.0.1", echo, plan=plan) as proxy:
        async with call(proxy) as first:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await first.say(b"hello")
        async with call(proxy) as second:
            assert await second.say(b"hello") == b"hello"
            proxy.reset_all()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await second.say(b"hello")


async def test_a_slow_close_delays_the_end(echo):
    async with (
        ChaosProxy("127.0.0.1", echo, fault=NetworkFault(slow_close=0.2)) as proxy,
        call(proxy) as caller,
    ):
        await caller.say(b"x")
        began = time.monotonic()
        caller.writer.write_eof()

        assert await caller.reader.read() == b""
        assert time.monotonic() - began >= 0.2


async def test_without_a_server_behind_the_proxy_connections_are_reset():
    async with ChaosProxy("127.0.0.1", 1) as proxy, call(proxy) as caller:
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await caller.say(b"x")
