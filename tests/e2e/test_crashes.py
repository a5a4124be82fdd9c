"""kill -9 of any process, in the middle of a burst: every mail has its webhook, under one id."""

import asyncio
import contextlib
import itertools
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from fixtures.world import World, eventually
from superimap.db import engine
from superimap.db.accounts import sweeps
from superimap.db.accounts.sweeps import SweepRequest
from superimap.db.models import User
from superimap.testing import ImapServer, WebhookSink
from tests.support.mails import Ledger, mail
from tests.support.processes import environment, started

USER_COUNT = 20
MAIL_COUNT = 500
SWEPT_COUNT = 120
POSTS_IN_FLIGHT = 10  # to one endpoint


class Burst:
    """A burst of mails over several mailboxes, faster than they can be delivered."""

    def __init__(self, imap: ImapServer) -> None:
        self.imap = imap
        self.ledger = Ledger()
        self._numbers = itertools.count()

    async def prepare(self, world: World, sink: WebhookSink) -> None:
        partner = await world.partner(new_mail_webhook=sink.url("/hook"))
        await world.provider(self.imap.host, self.imap.port)
        await world.connection(partner)
        for number in range(USER_COUNT):
            self.imap.add_account(f"user{number}", "pw")
            await world.user(partner, f"tag{number}", login=f"user{number}", password="pw")

    async def wait_until_watched(self) -> None:
        await self.imap.wait_for(
            lambda: len({each.username for each in self.imap.sessions if each.idling}) == USER_COUNT,
            timeout=40,
        )

    def send(self, count: int) -> None:
        for number in itertools.islice(self._numbers, count):
            user = number % USER_COUNT
            raw = mail(number, to=f"user{user}@example.com")
            self.ledger.note(raw, path="/hook", tag=f"tag{user}")
            self.imap.deliver(f"user{user}", raw)

    async def deliver_all(self) -> None:
        """Deliver all mails, over about two seconds."""
        while len(self.ledger.sent) < MAIL_COUNT:
            self.send(5)
            await asyncio.sleep(0.02)

    async def all_arrived(self, sink: WebhookSink) -> None:
        await sink.wait_for(lambda got: not self.ledger.lost(got), timeout=60)

    def check(self, sink: WebhookSink, *, most_duplicates: int) -> None:
        received = list(sink.received)
        assert self.ledger.lost(received) == set()
        assert self.ledger.astray(received) == []
        assert self.ledger.ids_per_mail(received) == {1}
        assert self.ledger.duplicates(received) <= most_duplicates


async def slowly(_: object) -> int:
    await asyncio.sleep(0.02)  # a slow application, so that there are POSTs in flight
    return 200


@pytest.mark.slow
async def test_kill_9_of_an_idler_loses_nothing_and_repeats_nothing(world: World, imap, sink):
    burst = Burst(imap)
    await burst.prepare(world, sink)
    env = environment(world)
    async with started("dispatcher", env=env):
        async with started("idler", env=env) as idler:
            await burst.wait_until_watched()
            pouring = asyncio.create_task(burst.deliver_all())
            await sink.wait_for(MAIL_COUNT // 5, timeout=30)
            idler.kill()
        assert not pouring.done(), "it was killed in the middle"
        await pouring
        async with started("idler", env=env):
            await burst.all_arrived(sink)
            await burst.wait_until_watched()

    burst.check(sink, most_duplicates=0)


@pytest.mark.slow
async def test_kill_9_of_a_dispatcher_repeats_at_most_what_was_in_flight(world: World, imap, sink):
    sink.answer = slowly
    burst = Burst(imap)
    await burst.prepare(world, sink)
    env = environment(world, WEBHOOK_TIMEOUT="2")
    async with started("idler", env=env):
        await burst.wait_until_watched()
        async with started("dispatcher", env=env) as dispatcher:
            burst.send(MAIL_COUNT)
            await sink.wait_for(MAIL_COUNT // 5, timeout=30)
            dispatcher.kill()
        assert burst.ledger.lost(list(sink.received)), "it was killed in the middle"
        async with started("dispatcher", env=env):
            await burst.all_arrived(sink)
            await eventually(
                lambda: world.value("SELECT count(*) = 0 FROM deliveries WHERE state <> 'delivered'"),
                within=40,
            )

    burst.check(sink, most_duplicates=POSTS_IN_FLIGHT)


@pytest.mark.slow
async def test_kill_9_of_idler_and_dispatcher_in_a_sweep_gives_each_mail_one_webhook(world, imap, sink):
    burst = Burst(imap)
    await burst.prepare(world, sink)
    for number in range(SWEPT_COUNT):
        raw = mail(f"old {number}", to="user0@example.com")
        burst.ledger.note(raw, path="/hook", tag="tag0")
        imap.deliver("user0", raw, internal_date=datetime(2026, 1, 1, tzinfo=UTC))
    env = environment(world)
    for count in (0, SWEPT_COUNT // 3, SWEPT_COUNT * 2 // 3):
        async with started("dispatcher", env=env) as dispatcher, started("idler", env=env) as idler:
            if count == 0:
                await burst.wait_until_watched()
                await sweep(world, "tag0")
            await sink.wait_for(count + 5, timeout=30)
            idler.kill()
            dispatcher.kill()
    assert burst.ledger.lost(list(sink.received)), "they were killed in the middle"
    async with started("dispatcher", env=env), started("idler", env=env):
        await burst.all_arrived(sink)

    burst.check(sink, most_duplicates=3 * POSTS_IN_FLIGHT)
    assert {each.json["origin"] for each in sink.received} == {"sweep"}


async def sweep(world: World, tag: str) -> None:
    """Start a sweep of a user's mailbox."""
    async with engine.sessions(world.database_url) as sessions, sessions.begin() as db:
        user = (await db.scalars(select(User).where(User.tag == tag).with_for_update())).one()
        await sweeps.create(db, user, SweepRequest())


async def test_kill_9_of_all_processes_with_database_and_queue_loses_nothing(
    open_folder: Path, imap, sink, unused_tcp_port
):
    """`superimap up` runs everything, engines too; killing it stops everything, and a start brings it back."""
    sink.answer = slowly
    data = open_folder / "everything"
    port = unused_tcp_port
    world = World("", "")
    env = environment(world, WEBHOOK_TIMEOUT="2")
    del env["DATABASE_URL"], env["REDIS_URL"]
    command = ("up", "--data", str(data), "--port", str(port))
    burst = Burst(imap)
    async with started(*command, env=env) as whole:
        await whole.says("Ctrl-C ends it.")
        world.database_url = _database_of(whole.output)
        await burst.prepare(world, sink)
        await burst.wait_until_watched()
        burst.send(MAIL_COUNT)
        await sink.wait_for(MAIL_COUNT // 5, timeout=30)
        whole.kill()
    assert burst.ledger.lost(list(sink.received)), "it was killed in the middle"
    await imap.wait_for(lambda: not imap.sessions)
    async with started(*command, env=env):
        await burst.all_arrived(sink)
        with contextlib.suppress(OSError):
            await eventually(
                lambda: world.value("SELECT count(*) = 0 FROM deliveries WHERE state <> 'delivered'"),
                within=40,
            )

    burst.check(sink, most_duplicates=POSTS_IN_FLIGHT)


def _database_of(output: str) -> str:
    return output.split("DATABASE_URL='", 1)[1].split("'", 1)[0]
