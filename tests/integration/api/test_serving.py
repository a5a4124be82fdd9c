"""The API on a socket: start without a database, readiness, limits, and stop."""

import asyncio
import logging
import time
from contextlib import asynccontextmanager

import httpx
import pytest

from superimap.api import main
from superimap.api.main import serve
from superimap.core.listeners import ListenError
from tests.support.api import served, settings_for
from tests.support.db_proxy import DbProxy

CONNECTIONS = "/api/v1/connections"


async def until(condition):
    """Wait until the condition holds, for at most 20 s."""
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)


@pytest.fixture
def proxy(world, tmp_path_factory):
    return DbProxy(world.settings.database_url, tmp_path_factory.mktemp("db"))


async def test_the_api_starts_without_a_database_answers_503_and_recovers(world, proxy):
    async with served(settings_for(proxy.url)) as url, httpx.AsyncClient(base_url=url) as client:
        client.headers["x-api-key"] = world.acme

        async def is_ready():
            return (await client.get("/readyz")).status_code == 200

        async def is_away():
            return (await client.get("/readyz")).status_code == 503

        for _ in range(2):
            refused = await client.get(CONNECTIONS)
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "2"
            assert refused.headers["content-type"] == "application/problem+json"
            assert (await client.get("/healthz")).status_code == 200
            assert await is_away()

            await proxy.open()
            await until(is_ready)
            assert (await client.get(CONNECTIONS)).status_code == 200

            await proxy.close()
            await until(is_away)


async def test_a_hanging_database_makes_readyz_fail_within_a_second(world, proxy):
    await proxy.open()
    async with served(settings_for(proxy.url)) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/readyz")).status_code == 200
        proxy.hang()

        began = time.monotonic()
        hanging = await client.get("/readyz", timeout=10)
        took = time.monotonic() - began

        proxy.resume()
        assert hanging.status_code == 503
        assert took < 4
    await proxy.close()


@asynccontextmanager
async def stoppable(settings, **options):
    """An API on a socket; yields its host and port, and the event and the task that stop it."""
    stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
    running = asyncio.create_task(serve(settings, stop, on_listening=listening.set_result, **options))
    host, port = (await listening).removeprefix("http://").split(":")
    yield host, int(port), stop, running
    stop.set()
    await running


async def test_the_api_stops_although_a_request_hangs(world, monkeypatch):
    monkeypatch.setattr(main, "SHUTDOWN_GRACE_SECONDS", 1)
    async with stoppable(settings_for(world.settings.database_url, drain_seconds=0)) as (
        host,
        port,
        stop,
        api,
    ):
        _, writer = await asyncio.open_connection(host, port)
        writer.write(b"POST /webhook_test/new_mail HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
        await writer.drain()

        began = time.monotonic()
        stop.set()
        await api

        assert time.monotonic() - began < 4
        writer.close()


async def test_metrics_and_readiness_are_on_the_health_port_and_no_metrics_on_the_public_one(
    world, unused_tcp_port
):
    settings = settings_for(world.settings.database_url)
    async with (
        stoppable(settings, health_port=unused_tcp_port, drain_seconds=0.2) as (host, port, stop, api),
        httpx.AsyncClient() as client,
    ):
        private, public = f"http://{host}:{unused_tcp_port}", f"http://{host}:{port}"
        metrics = (await client.get(f"{private}/metrics")).text
        ready = await client.get(f"{private}/readyz")
        assert (await client.get(f"{public}/metrics")).status_code == 404
        stop.set()
        unready = await client.get(f"{private}/readyz")
        await api

    assert "superimap_quota_refusals_total" in metrics
    assert (ready.status_code, unready.status_code) == (200, 503)
    assert "stopping" in unready.text


async def test_a_stopping_api_is_unready_and_serves_for_a_while(world):
    settings = settings_for(world.settings.database_url, drain_seconds=1)
    async with stoppable(settings) as (host, port, stop, api), httpx.AsyncClient() as client:
        assert (await client.get(f"http://{host}:{port}/readyz")).status_code == 200
        stop.set()
        await asyncio.sleep(0)

        for _ in range(3):
            async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as late:
                answer = await late.get("/healthz")
                unready = await late.get("/readyz")
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
            assert (unready.status_code, unready.json()["type"].rpartition(":")[2]) == (503, "stopping")
        await api
        with pytest.raises(OSError):
            await asyncio.open_connection(host, port)


async def test_a_request_in_progress_at_the_end_is_answered(world):
    settings = settings_for(world.settings.database_url, drain_seconds=0)
    async with stoppable(settings) as (host, port, stop, api):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"POST /webhook_test/new_mail HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
        await writer.drain()
        await asyncio.sleep(0.1)

        stop.set()
        with pytest.raises(OSError):
            while True:  # until the socket is closed
                (await asyncio.open_connection(host, port))[1].close()
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        writer.write(b"cd")

        assert (await reader.read(200)).startswith(b"HTTP/1.1 200")
        await api
        writer.close()


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_health_check_by_head_is_200(world, path):
    async with served(world.settings) as url, httpx.AsyncClient(base_url=url) as client:
        answer = await client.head(path)

    assert (answer.status_code, answer.content) == (200, b"")


async def test_a_port_in_use_is_a_clear_error(world):
    async with served(world.settings) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(ListenError, match=f"port {port}.*PORT"):
            await serve(settings_for(world.settings.database_url, port=port), asyncio.Event())


async def test_a_key_in_the_query_reaches_no_log(world, caplog):
    caplog.set_level(logging.DEBUG)
    async with served(world.settings) as url, httpx.AsyncClient(base_url=url) as client:
        answer = await client.get(f"{CONNECTIONS}?api_key={world.acme}")

    assert answer.status_code == 200
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert ours
    assert world.acme not in "\n".join(str(vars(record)) for record in ours)


async def test_the_size_of_headers_is_limited(world):
    async with served(world.settings) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1_000_000)

        answer = await asyncio.wait_for(reader.read(200), 5)

        assert answer.startswith(b"HTTP/1.1 400")
        writer.close()


async def test_a_client_that_sends_a_megabyte_reads_413_and_no_reset(world):
    async with served(world.settings) as url, httpx.AsyncClient(base_url=url) as client:
        for _ in range(20):
            answer = await client.post(
                CONNECTIONS, content=b"x" * 1_000_000, headers={"content-type": "application/json"}
            )
            assert answer.status_code == 413
