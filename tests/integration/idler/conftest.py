from collections.abc import AsyncIterator

import pytest_asyncio

from superimap.testing import ImapServer


@pytest_asyncio.fixture
async def imap() -> AsyncIterator[ImapServer]:
    async with ImapServer() as server:
        yield server
