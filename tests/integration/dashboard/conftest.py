"""An API with two partners, whose dashboard has no operator yet."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from argon2 import PasswordHasher

from superimap.api.dashboard import passwords
from tests.support.api import ApiWorld
from tests.support.api import world as make_world


@pytest_asyncio.fixture
async def world(database_url: str) -> AsyncIterator[ApiWorld]:
    async with make_world(database_url) as made:
        yield made


@pytest.fixture(autouse=True)
def passwords_are_hashed_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash with a thousandth of the memory; the browser tests use the real parameters."""
    hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", lambda: hasher)
