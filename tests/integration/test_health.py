"""The health port of a process: /healthz, /readyz and /metrics."""

import asyncio
import socket

import httpx
import pytest
from typer.testing import CliRunner

from superimap.cli import app, setup
from superimap.core.health import Readiness, serve_health
from superimap.core.listeners import ListenError


async def test_readyz_follows_readiness_and_healthz_is_always_200(unused_tcp_port: int):
    state = Readiness()
    base = f"http://127.0.0.1:{unused_tcp_port}"
    async with serve_health(state, host="127.0.0.1", port=unused_tcp_port), httpx.AsyncClient() as client:
        assert (await client.get(f"{base}/readyz")).status_code == 503
        assert (await client.get(f"{base}/healthz")).status_code == 200
        state.ready = True
        assert (await client.get(f"{base}/readyz")).status_code == 200
        metrics = await client.get(f"{base}/metrics")

    assert "superimap_sessions " in metrics.text


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_the_wildcard_of_ipv6_takes_both_families_and_health_finds_it(monkeypatch, host: str):
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        port = probe.getsockname()[1]
    state = Readiness(ready=True)
    async with serve_health(state, host="::", port=port), httpx.AsyncClient() as client:
        shown = f"[{host}]" if ":" in host else host
        for path in ("healthz", "readyz"):
            answer = await client.head(f"http://{shown}:{port}/{path}")
            assert (answer.status_code, answer.content) == (200, b"")
        monkeypatch.setenv("HEALTH_HOST", "::")
        monkeypatch.setenv("HEALTH_PORT", str(port))
        asked = await asyncio.to_thread(CliRunner().invoke, app, ["health"])

    assert (asked.exit_code, asked.output) == (0, f"[::1]:{port} is ready: ready\n")


async def test_a_health_port_in_use_is_a_clear_error(unused_tcp_port: int):
    async with serve_health(Readiness(), host="127.0.0.1", port=unused_tcp_port):
        with pytest.raises(ListenError, match=f"port {unused_tcp_port}.*HEALTH_PORT"):
            async with serve_health(Readiness(), host="127.0.0.1", port=unused_tcp_port):
                pass


@pytest.mark.parametrize(
    ("variables", "asked"),
    [
        ({}, ("127.0.0.1", 8000)),
        ({"PORT": "9000", "HOST": "0.0.0.0"}, ("127.0.0.1", 9000)),
        ({"PORT": "9000", "HOST": "10.0.0.7"}, ("10.0.0.7", 9000)),
        ({"PORT": "9000", "HOST": "::"}, ("::1", 9000)),
        ({"HEALTH_PORT": "8001", "HOST": "10.0.0.7"}, ("127.0.0.1", 8001)),
        ({"HEALTH_PORT": "8001", "HEALTH_HOST": "10.0.0.7", "PORT": "9000"}, ("10.0.0.7", 8001)),
        ({"HEALTH_PORT": "0", "PORT": "9000"}, ("127.0.0.1", 9000)),
    ],
)
def test_health_asks_where_the_process_listens(monkeypatch, variables, asked):
    for name in ("HEALTH_PORT", "HEALTH_HOST", "PORT", "HOST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert setup.listening_address() == asked
