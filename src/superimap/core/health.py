"""HTTP server of a worker for liveness, readiness and metrics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

import superimap.core.metrics  # noqa: F401 - exports every metric from the start, even at 0


@dataclass(slots=True)
class Readiness:
    """Readiness of a worker. `ready` is true from its first round of work until it is asked to stop."""

    ready: bool = False


@asynccontextmanager
async def serve_health(readiness: Readiness, *, host: str, port: int) -> AsyncIterator[None]:
    """Serve /healthz, /readyz and /metrics; port 0 serves nothing. Raises OSError if the port is in use."""
    if not port:
        yield
        return
    app = web.Application()
    app.router.add_get("/healthz", _alive)
    app.router.add_get("/metrics", _metrics)

    async def is_ready(_: web.Request) -> web.Response:
        return (
            web.Response(text="ready\n") if readiness.ready else web.Response(status=503, text="not ready\n")
        )

    app.router.add_get("/readyz", is_ready)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        async with asyncio.timeout(5.0):
            await runner.cleanup()


async def _alive(_: web.Request) -> web.Response:
    return web.Response(text="alive\n")


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
