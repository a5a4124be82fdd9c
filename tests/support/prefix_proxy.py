"""A reverse proxy that publishes an upstream under a path."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

_HOP_BY_HOP = {"transfer-encoding", "content-length", "connection", "keep-alive"}


@asynccontextmanager
async def prefix_proxy(
    prefix: str, *, strips: bool, headers: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve on a free port; yields the public origin, and the list that must get the upstream's URL.

    Only paths under `prefix` are passed on, as a location of nginx does; any other is a 404.
    """
    upstream: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path_qs
        if not path.startswith(prefix + "/"):
            return web.Response(status=404, text="of the proxy")
        url = upstream[0] + (path.removeprefix(prefix) if strips else path)
        sent = {
            **request.headers,
            "X-Forwarded-Host": request.host,
            "X-Forwarded-Proto": "http",
            **(headers or {}),
        }
        async with (
            aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as http,
            http.request(
                request.method, url, headers=sent, data=await request.read(), allow_redirects=False
            ) as answer,
        ):
            response = web.Response(status=answer.status, body=await answer.read())
            for name, value in answer.headers.items():
                if name.lower() not in _HOP_BY_HOP | {"content-type"}:
                    response.headers.add(name, value)
            response.headers["Content-Type"] = answer.headers.get("Content-Type", "text/plain")
            return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}", upstream
    finally:
        await runner.cleanup()
