"""An API with two partners, and a client for each."""

from collections.abc import AsyncIterator

import httpx
import pytest_asyncio

from tests.support.api import ApiWorld
from tests.support.api import world as make_world


@pytest_asyncio.fixture
async def world(database_url: str) -> AsyncIterator[ApiWorld]:
    """The application, its database and its partners."""
    async with make_world(database_url) as made:
        yield made


@pytest_asyncio.fixture
async def acme(world: ApiWorld) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the key of the partner acme, which has a connection to PLAIN."""
    async with world.client(world.acme) as client:
        answer = await client.post("/api/v1/connections", json={"imap_provider_code": "PLAIN"})
        assert answer.status_code == 201
        yield client


@pytest_asyncio.fixture
async def globex(world: ApiWorld) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the key of the partner globex, which has no connection."""
    async with world.client(world.globex) as client:
        yield client
