from collections.abc import AsyncIterator

import pytest_asyncio

from superimap.testing import WebhookSink


@pytest_asyncio.fixture
async def sink() -> AsyncIterator[WebhookSink]:
    async with WebhookSink() as receiver:
        yield receiver
