"""A stream continues when TLS keys change. OpenSSL's own server triggers it, because Python's ssl cannot."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trustme

from tests.support import needs
from tests.support.streams import opened
from tests.support.tls import client_context


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def pem(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if shutil.which("openssl") is None:
        needs("the openssl command: apt-get install openssl")
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(path))
    yield path


@contextlib.asynccontextmanager
async def s_server(pem: Path, *options: str) -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as sock:
        port = sock.getsockname()[1]
    words = ("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(pem), *options)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
    try:
        async with asyncio.timeout(10):
            while b"ACCEPT" not in await process.stdout.readline():
                pass
        yield port, process
    finally:
        process.kill()
        await process.wait()


async def say(process: asyncio.subprocess.Process, line: bytes) -> None:
    process.stdin.write(line + b"\n")
    await process.stdin.drain()


async def heard(process: asyncio.subprocess.Process, line: bytes) -> None:
    async with asyncio.timeout(10):
        while line not in (found := await process.stdout.readline()):
            assert found, "the server is gone"


@pytest.mark.parametrize(
    ("options", "order"),
    [
        (("-tls1_3",), b"k"),  # KeyUpdate of the server's key
        (("-tls1_3",), b"K"),  # and of the client's, which must answer
        (("-tls1_2",), b"r"),  # renegotiation
    ],
)
async def test_tls_keys_may_change_during_a_session(authority, pem, options, order):
    async with (
        s_server(pem, *options) as (port, process),
        opened(port, client_context(authority)) as (connection, recorder),
    ):
        for number in range(3):
            await say(process, b"down%d" % number)
            await recorder.until(6 * (number + 1))
            await say(process, order)
            await asyncio.sleep(0.1)
            connection.write(b"up%d\n" % number)
            await heard(process, b"up%d" % number)
        await say(process, b"last")
        await recorder.until(6 * 3 + 5)

        assert recorder.data == b"down0\ndown1\ndown2\nlast\n"
        assert not recorder.ends
