"""Limits of the API's connections, by clients that write raw bytes to a socket."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from functools import partial

import pytest

from superimap.api import http_connections, main, middleware
from superimap.api.http_connections import OpenConnections, Phase, connection_limit
from tests.support.api import served

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
HALF_HEADER = GET[:20]
HALF_BODY = b"POST /webhook_test/new_mail HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"
UNWANTED_BODY = b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"
DEFAULTS = dict(http_connections.PHASE_TIMEOUT_SECONDS)  # before `quick` changes them


def test_each_phase_in_which_a_connection_waits_for_its_client_has_a_limit():
    assert {phase: DEFAULTS[phase] for phase in Phase if phase is not Phase.ANSWERING} == {
        Phase.RECEIVING: 10,
        Phase.SENDING: 30,
        Phase.IDLE: 80,
    }


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Half a second where the API gives ten, and a look at all connections every 50 ms."""
    monkeypatch.setattr(http_connections, "CHECK_SECONDS", 0.05)
    for phase in (Phase.RECEIVING, Phase.SENDING, Phase.IDLE):
        monkeypatch.setitem(http_connections.PHASE_TIMEOUT_SECONDS, phase, 0.5)


class Client:
    """A client on a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, url: str) -> Client:
        host, port = url.removeprefix("http://").split(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def answers(self, count: int) -> bytes:
        """Wait for as many answers of /healthz; returns their text."""
        text = b""
        async with asyncio.timeout(5):
            while text.count(b'{"status":"ok"}') < count:
                text += await self.reader.read(1000)
                assert not self.reader.at_eof(), text
        return text

    async def rest(self) -> bytes:
        """What the API sends until it closes the connection."""
        async with asyncio.timeout(5):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@pytest.mark.parametrize(
    ("before", "then", "answer"),
    [
        (b"", b"", b""),
        (b"", HALF_HEADER, b"HTTP/1.1 408"),
        (GET, HALF_HEADER, b"HTTP/1.1 408"),
        (GET, GET + HALF_HEADER, b"HTTP/1.1 200"),
        (GET, b"", b""),
        (UNWANTED_BODY, b"", b""),
    ],
    ids=["silent", "half header", "half second header", "half pipelined", "idle", "unwanted body"],
)
async def test_a_connection_whose_request_does_not_arrive_is_closed(world, before, then, answer):
    async with served(world.settings) as url:
        client = await Client.connect(url)
        client.writer.write(before)
        await client.answers(1 if before else 0)
        client.writer.write(then)

        assert (await client.rest()).startswith(answer)
        client.writer.close()


async def test_a_header_that_drips_is_cut_off(world):
    async with served(world.settings) as url:
        client = await Client.connect(url)

        async def drip():
            for byte in GET * 100:
                client.writer.write(bytes([byte]))
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(5):
            assert (await client.reader.read(100)).startswith(b"HTTP/1.1 408")
        dripping.cancel()
        client.writer.close()


async def test_a_connection_in_use_is_kept(world):
    async with served(world.settings) as url:
        client = await Client.connect(url)
        for _ in range(15):
            client.writer.write(GET[:9])
            await asyncio.sleep(0.05)
            client.writer.write(GET[9:])
            await client.answers(1)
        client.writer.close()


async def test_a_body_that_does_not_arrive_is_408(world, monkeypatch):
    monkeypatch.setattr(middleware, "BODY_TIMEOUT_SECONDS", 0.3)
    async with served(world.settings) as url:
        client = await Client.connect(url)
        client.writer.write(b"POST /api/v1/connections HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")

        assert (await client.rest()).startswith(b"HTTP/1.1 408")
        client.writer.close()


async def test_an_answer_that_is_not_read_is_cut_off(world, monkeypatch):
    monkeypatch.setitem(http_connections.PHASE_TIMEOUT_SECONDS, Phase.IDLE, 60)
    monkeypatch.setattr(middleware, "REQUEST_TIMEOUT_SECONDS", 0.2)
    kept = OpenConnections(limit=9)
    monkeypatch.setattr(main, "OpenConnections", lambda: kept)
    async with served(world.settings) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, (host, int(port)))
            # Pipelined answers of 10 MB: one fits into the buffers of the kernel.
            request = b"GET /docs/assets/swagger-ui/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
            await loop.sock_sendall(client, request * 6)
            async with asyncio.timeout(5):
                while not len(kept):
                    await asyncio.sleep(0.01)
                while len(kept):
                    await asyncio.sleep(0.01)


async def test_strangers_are_displaced_when_there_are_too_many_connections(world, monkeypatch):
    monkeypatch.setattr(main, "OpenConnections", partial(OpenConnections, limit=4))
    monkeypatch.setitem(http_connections.PHASE_TIMEOUT_SECONDS, Phase.RECEIVING, 60)
    monkeypatch.setitem(http_connections.PHASE_TIMEOUT_SECONDS, Phase.IDLE, 60)
    async with served(world.settings) as url:
        known = await Client.connect(url)
        known.writer.write(GET)
        await known.answers(1)
        strangers = [await Client.connect(url) for _ in range(3)]
        for stranger in strangers:
            stranger.writer.write(HALF_HEADER)

        newcomers = [await Client.connect(url) for _ in range(3)]
        for newcomer in newcomers:
            newcomer.writer.write(GET)
            await newcomer.answers(1)

        for stranger in strangers:
            assert await stranger.rest() == b""
        known.writer.write(GET)
        await known.answers(1)
        for client in (known, *newcomers, *strangers):
            client.writer.close()


@pytest.mark.parametrize(
    ("open_files", "connections"), [(1_048_576, 800), (1024, 800), (1000, 800), (512, 312), (256, 128)]
)
def test_connections_leave_open_files_to_the_database(open_files, connections):
    assert connection_limit(open_files) == connections


async def test_connections_beyond_the_limit_are_refused_while_all_have_requests(world, monkeypatch):
    monkeypatch.setattr(main, "OpenConnections", partial(OpenConnections, limit=2))
    async with served(world.settings) as url, AsyncExitStack() as stack:
        busy = [await Client.connect(url) for _ in range(2)]
        for client in busy:
            client.writer.write(HALF_BODY)
            stack.callback(client.writer.close)
        await asyncio.sleep(0.1)

        newcomer = await Client.connect(url)
        assert (await newcomer.rest()).startswith(b"HTTP/1.1 503")
        newcomer.writer.close()

        for client in busy:
            client.writer.write(b"defghi")
            assert (await client.reader.read(500)).startswith(b"HTTP/1.1 200")
