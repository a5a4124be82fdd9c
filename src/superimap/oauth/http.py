"""With what does one speak to providers? One HTTP client, every socket of which asks the egress guard."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from superimap.core.egress import Guard


@contextlib.asynccontextmanager
async def guarded_client(guard: Guard) -> AsyncIterator[httpx.AsyncClient]:
    """For token endpoints: no redirects, nothing from the environment, and the guard on every socket."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=guard.socket)) as session,
        httpx.AsyncClient(
            transport=AiohttpTransport(client=session), timeout=15.0, follow_redirects=False, trust_env=False
        ) as client,
    ):
        yield client
