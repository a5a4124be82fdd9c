"""A mail server, and a world whose idlers have the privileges of idlers and no others."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from fixtures.engines import as_role
from fixtures.world import World
from superimap.db.privileges import Role
from superimap.domain import sweeps as pace
from superimap.idler import sweep_run
from superimap.testing import ImapServer
from tests.integration.idler.sweeping import Sweeps


@pytest_asyncio.fixture(scope="session")
async def template(small_template: str) -> str:
    """These tests have few users."""
    return small_template


@pytest_asyncio.fixture
async def imap() -> AsyncIterator[ImapServer]:
    async with ImapServer() as server:
        yield server


@pytest.fixture
def world(database_url: str, redis_url: str) -> World:
    """A World on an empty database and an empty Redis."""
    return World(database_url, redis_url, {"database_url": as_role(database_url, Role.IDLER)})


@pytest.fixture
def history(world: World, imap: ImapServer, monkeypatch: pytest.MonkeyPatch) -> Sweeps:
    """A mailbox with old mails, whose sweeps wait briefly."""
    monkeypatch.setattr(pace, "CONNECTING_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(pace, "BACKLOG_WAIT_SECONDS", 0.5)
    monkeypatch.setattr(pace, "FIRST_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(sweep_run, "CATCH_UP_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(sweep_run, "REPEAT_SECONDS", 0.1)
    monkeypatch.setattr("superimap.idler.sweep_job.ROUND_SECONDS", 0.1)
    monkeypatch.setattr("superimap.idler.sweep_job.LEAST_ROUND_SECONDS", 0.01)
    return Sweeps(world, imap)
