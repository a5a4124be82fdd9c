"""Outages of PostgreSQL or Valkey, at the start or later: no process ends, no mail is lost, all recover."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from fixtures.world import World
from superimap.db import migrate
from superimap.launch import engines as embedded
from superimap.testing import ImapServer, WebhookSink
from tests.support.mails import Ledger, mail
from tests.support.processes import environment, started


class Engine:
    """A server of this test's own that can stop and start again at the same address."""

    def __init__(self, make: object) -> None:
        self._make = make
        self._stack = contextlib.AsyncExitStack()
        self.url = ""

    async def start(self) -> None:
        self.url = await self._stack.enter_async_context(self._make())  # type: ignore[operator]

    async def stop(self) -> None:
        await self._stack.aclose()


@pytest_asyncio.fixture
async def postgres(open_folder: Path, request) -> AsyncIterator[Engine]:
    engine = Engine(lambda: embedded.postgres(open_folder / request.node.name[:20], fsync=False))
    await engine.start()
    await asyncio.to_thread(migrate.upgrade, engine.url)
    yield engine
    await engine.stop()


@pytest_asyncio.fixture
async def valkey(open_folder: Path, request) -> AsyncIterator[Engine]:
    engine = Engine(lambda: embedded.valkey(open_folder / f"{request.node.name[:20]}-valkey"))
    await engine.start()
    yield engine
    await engine.stop()


async def watched_user(world: World, imap: ImapServer, sink: WebhookSink) -> None:
    partner = await world.partner(new_mail_webhook=sink.url("/hook"))
    await world.provider(imap.host, imap.port)
    await world.connection(partner)
    imap.add_account("joe", "pw")
    await world.user(partner, "joe", login="joe", password="pw")


def deliver(imap: ImapServer, ledger: Ledger, number: int) -> None:
    raw = mail(number)
    ledger.note(raw, path="/hook", tag="joe")
    imap.deliver("joe", raw)


async def test_without_postgresql_at_the_start_everything_waits_for_it(postgres, redis_url, imap, sink):
    world, ledger = World(postgres.url, redis_url), Ledger()
    await watched_user(world, imap, sink)
    await postgres.stop()
    env = environment(world)
    async with started("idler", env=env) as idler, started("dispatcher", env=env) as dispatcher:
        await idler.says("waiting for PostgreSQL")
        await dispatcher.says("waiting for PostgreSQL")
        await postgres.start()
        deliver(imap, ledger, 1)
        await sink.wait_for(lambda got: not ledger.lost(got), timeout=30)
        assert idler.popen.poll() is None and dispatcher.popen.poll() is None


async def test_while_postgresql_is_down_sessions_stay_open_and_afterwards_all_mail_is_delivered(
    postgres, redis_url, imap, sink
):
    world, ledger = World(postgres.url, redis_url), Ledger()
    await watched_user(world, imap, sink)
    env = environment(world)
    async with started("idler", env=env) as idler, started("dispatcher", env=env):
        deliver(imap, ledger, 1)
        await sink.wait_for(lambda got: not ledger.lost(got), timeout=30)
        connects = imap.connects
        await postgres.stop()
        deliver(imap, ledger, 2)
        await idler.says("heartbeat failed")
        await idler.says("waiting for PostgreSQL")
        deliver(imap, ledger, 3)
        await postgres.start()
        await sink.wait_for(lambda got: not ledger.lost(got), timeout=30)

    assert imap.connects == connects, "the session was kept"
    assert ledger.duplicates(list(sink.received)) == 0


async def test_without_valkey_at_all_webhooks_still_go_out(world, imap, sink, tmp_path):
    ledger = Ledger()
    world.redis_url = f"unix://{tmp_path}/nobody.sock"
    await watched_user(world, imap, sink)
    env = environment(world)
    async with started("idler", env=env), started("dispatcher", env=env):
        for number in range(10):
            deliver(imap, ledger, number)
        await sink.wait_for(lambda got: not ledger.lost(got), timeout=30)


async def test_a_valkey_that_restarts_empty_costs_no_mail(world, imap, sink, valkey):
    ledger = Ledger()
    world.redis_url = valkey.url
    await watched_user(world, imap, sink)
    env = environment(world)
    async with started("idler", env=env), started("dispatcher", env=env):
        deliver(imap, ledger, 1)
        await sink.wait_for(lambda got: not ledger.lost(got), timeout=30)
        await valkey.stop()
        deliver(imap, ledger, 2)
        await sink.wait_for(lambda got: not ledger.lost(got), timeout=30)
        await valkey.start()
        deliver(imap, ledger, 3)
        await sink.wait_for(lambda got: not ledger.lost(got), timeout=30)
