"""TLS to PostgreSQL and Valkey, with the settings that docs/operations.md names.

The engines of the tests have no TLS of their own. A terminator in front of each speaks TLS as the engine would:
after PostgreSQL's SSLRequest (protocol, section 54.2.11), or at once, as for `rediss://`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from superimap.db import postgres
from superimap.doorbells.arq_worker import UNREACHABLE, connect, disconnect
from superimap.launch.engines.postgres import NAME
from tests.support.tls import server_context

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


class Terminator:
    """Counts the connections whose handshake succeeded; only those reach the engine."""

    def __init__(self, context: ssl.SSLContext, *, socket: str, port: int = 0, asks: bool) -> None:
        self._context = context
        self._socket = socket
        self._port = port
        self._asks = asks
        self.forwarded = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if self._asks:
                assert await reader.readexactly(8) == SSL_REQUEST, "the client did not ask for TLS"
                writer.write(b"S")
                await writer.drain()
            await writer.start_tls(self._context)
            self.forwarded += 1
            if self._port:
                inner = await asyncio.open_connection(self._socket, self._port)
            else:
                inner = await asyncio.open_unix_connection(self._socket)
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, inner[1]))
                both.create_task(_copy(inner[0], writer))
        writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()


@contextlib.asynccontextmanager
async def listening(terminator: Terminator) -> AsyncIterator[int]:
    """Serve on a free port of loopback."""
    server = await asyncio.start_server(terminator.serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, Path]:
    """An authority of the operator, and its certificate as a file."""
    made, file = trustme.CA(), tmp_path / "ca.pem"
    made.cert_pem.write_to_path(str(file))
    return made, file


async def test_postgresql_is_reached_only_with_a_certificate_of_its_authority(
    database_url, authority, tmp_path
):
    ca, file = authority
    parts = urlsplit(database_url)
    folder = parse_qs(parts.query)["host"][0]
    engine = Terminator(server_context(ca), socket=f"{folder}/.s.PGSQL.5432", asks=True)
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))

    async with listening(engine) as port:
        url = f"postgresql://{NAME}@localhost:{port}{parts.path}?sslmode=verify-full&sslrootcert="
        async with postgres.transaction(f"{url}{file}") as db:
            assert await db.fetchval("SELECT 1") == 1
        assert engine.forwarded == 1
        for wrong in (f"{url}{other}", f"{url}{file}".replace("@localhost", "@127.0.0.1")):
            with pytest.raises(ssl.SSLCertVerificationError):
                await postgres.connect(wrong)
        assert engine.forwarded == 1


async def test_redis_is_reached_only_with_a_certificate_of_its_authority(redis_url, authority, tmp_path):
    ca, file = authority
    parts = urlsplit(redis_url)
    engine = Terminator(
        server_context(ca), socket=parts.hostname or parts.path, port=parts.port or 0, asks=False
    )
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))

    async with listening(engine) as port:
        url = f"rediss://localhost:{port}/0?ssl_ca_certs="
        redis = connect(f"{url}{file}", timeout=5.0)
        assert await redis.ping()
        await disconnect(redis)
        assert engine.forwarded == 1
        for wrong in (
            f"{url}{other}",
            f"{url}{file}".replace("localhost", "127.0.0.1"),
            f"rediss://localhost:{port}/0",
        ):
            redis = connect(wrong, timeout=5.0)
            with pytest.raises(UNREACHABLE):
                await redis.ping()
            await disconnect(redis)
        assert engine.forwarded == 1


async def test_redis_without_verification_still_connects(redis_url, authority):
    ca, _ = authority
    parts = urlsplit(redis_url)
    engine = Terminator(
        server_context(ca), socket=parts.hostname or parts.path, port=parts.port or 0, asks=False
    )

    async with listening(engine) as port:
        redis = connect(f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=none", timeout=5.0)
        assert await redis.ping()
        await disconnect(redis)
