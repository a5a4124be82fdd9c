"""An API with two partners, whose dashboard has no operator yet."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.api import ApiWorld
from tests.support.api import world as make_world


@pytest_asyncio.fixture
async def world(database_url: str) -> AsyncIterator[ApiWorld]:
    async with make_world(database_url) as made:
        yield made
