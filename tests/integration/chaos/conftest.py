"""Chaos is played on one server with two users."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from superimap.imap import idle
from superimap.testing import Chaos, ImapServer
from tests.integration.chaos.scene import Scene
from tests.support.world import World


@pytest_asyncio.fixture
async def empty_scene(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    """A server with chaos, and a database without users."""
    monkeypatch.setattr(idle, "SHORT", 0.05)
    async with ImapServer() as imap:
        with Chaos(imap, seed=5) as chaos:
            yield Scene(World(database_url, redis_url), imap, chaos)


@pytest_asyncio.fixture
async def scene(empty_scene: Scene) -> Scene:
    """A server with chaos, and the users joe and ann."""
    await empty_scene.set_up()
    return empty_scene
