"""Several hosts in DATABASE_URL, of which one does not answer, and links that are cut."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from sqlalchemy import text

from superimap.core import postgres_url
from superimap.db import postgres
from superimap.db.engine import sessions
from tests.support.db_proxy import SOCKET, DbProxy


@pytest_asyncio.fixture
async def silent(database_url: str, tmp_path: Path) -> AsyncIterator[DbProxy]:
    """A host that takes connections and never answers, as one whose machine is lost."""
    proxy = DbProxy(database_url, tmp_path)
    proxy.hang()
    await proxy.open()
    yield proxy
    await proxy.close()


@pytest.fixture
def both(database_url: str, silent: DbProxy, monkeypatch: pytest.MonkeyPatch) -> str:
    """DATABASE_URL with the silent host before the one that works; a host may take 0.2 s to answer."""
    monkeypatch.setattr(postgres_url, "CONNECT_TIMEOUT_SECONDS", 0.2)
    parts = urlsplit(database_url)
    query = parse_qs(parts.query)
    hosts = f"{silent.folder},{query['host'][0]}"
    ports = f"{SOCKET.rpartition('.')[2]},{query.get('port', ['5432'])[0]}"
    return f"{parts.scheme}://{parts.netloc}{parts.path}?host={hosts}&port={ports}"


async def test_a_host_that_never_answers_leaves_time_for_the_next_one(both, silent):
    connection = await postgres.connect(both)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()

    again = await postgres.connect(both)
    await again.close()
    assert silent.connections == 1, "the host that was connected last is tried first"


async def test_pools_leave_a_host_that_never_answers(both, silent):
    async with postgres.pool(both, size=2) as pool:
        assert await pool.fetchval("SELECT 1") == 1
    async with sessions(both, pool_size=2) as sessionmaker, sessionmaker() as db:
        assert await db.scalar(text("SELECT 1")) == 1
    assert silent.connections == 1


async def test_if_no_host_can_be_used_the_error_is_that_of_a_host(silent, monkeypatch):
    monkeypatch.setattr(postgres_url, "CONNECT_TIMEOUT_SECONDS", 0.1)
    with pytest.raises(FileNotFoundError):
        await postgres.connect(f"{silent.url},/no/such/folder")


async def test_a_connection_ends_when_its_link_is_cut(database_url, tmp_path):
    proxy = DbProxy(database_url, tmp_path)
    relay = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    parts = urlsplit(database_url)
    port = relay.sockets[0].getsockname()[1]
    url = f"{parts.scheme}://{parts.netloc.rpartition('@')[0]}@127.0.0.1:{port}{parts.path}"

    connection = await postgres.connect(url)
    async with postgres.pool(url, size=1) as pool, pool.acquire() as pooled:
        for each in (connection, pooled):
            sock = each._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 5
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
    await connection.close()
    relay.close()
    await proxy.close()
