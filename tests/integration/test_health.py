"""The health port of a process: /healthz, /readyz and /metrics."""

import httpx

from superimap.core.health import Readiness, serve_health


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
