from collections.abc import AsyncIterator

import pytest_asyncio

from fixtures.world import World
from superimap.testing import ImapServer, WebhookSink


@pytest_asyncio.fixture
async def world(database_url: str, redis_url: str) -> World:
    return World(database_url, redis_url)


@pytest_asyncio.fixture
async def sink() -> AsyncIterator[WebhookSink]:
    async with WebhookSink() as receiver:
        yield receiver


@pytest_asyncio.fixture
async def imap() -> AsyncIterator[ImapServer]:
    async with ImapServer() as server:
        yield server
