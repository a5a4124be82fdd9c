from collections.abc import AsyncIterator

import pytest_asyncio

from superimap.testing import ImapServer, WebhookSink


@pytest_asyncio.fixture
async def sink() -> AsyncIterator[WebhookSink]:
    async with WebhookSink() as receiver:
        yield receiver


@pytest_asyncio.fixture
async def imap() -> AsyncIterator[ImapServer]:
    async with ImapServer() as server:
        yield server
