"""Fixtures of the fault tests: one server with two users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from fixtures.world import World
from superimap.imap import idle
from superimap.testing import Chaos, ImapServer
from tests.integration.chaos.scene import Scene

WATCHED = {"C33", "C38"}  # these strike only if we do what we must not
ELSEWHERE = {"C34", "C35"}  # these strike in the handshake and in the resolver, where no log is kept


@pytest_asyncio.fixture(scope="session")
async def template(small_template: str) -> str:
    """These tests have few users."""
    return small_template


@pytest_asyncio.fixture
async def empty_scene(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    """A server that injects faults, and a database without users."""
    monkeypatch.setattr(idle, "MIN_IDLE_SECONDS", 0.05)
    async with ImapServer() as imap:
        with Chaos(imap, seed=5) as chaos:
            added = remembering(chaos)
            yield Scene(World(database_url, redis_url), imap, chaos)
            idle_cases = [
                name for name in added if name[:3] not in ELSEWHERE | WATCHED and not chaos.struck(name)
            ]
            assert not idle_cases, "a test that says nothing: what it is about never happened"
            assert not [name for name in added if name[:3] in WATCHED and chaos.struck(name)]


def remembering(chaos: Chaos) -> set[str]:
    """The names of all fault cases that are added from now on."""
    added: set[str] = set()
    add = chaos.add

    def remember(name: str, **options: Any) -> Chaos:
        added.add(name)
        return add(name, **options)

    chaos.add = remember  # type: ignore[method-assign]
    return added


@pytest_asyncio.fixture
async def scene(empty_scene: Scene) -> Scene:
    """A server that injects faults, and the users joe and ann."""
    await empty_scene.set_up()
    return empty_scene
