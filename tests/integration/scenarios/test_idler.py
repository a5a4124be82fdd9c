"""An idler finds each mail exactly once, on both servers, without TLS, by STARTTLS and by TLS."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from fixtures.world import World, eventually, running
from superimap.idler import main
from superimap.idler.timing import SessionTiming
from superimap.testing.chaos.hostile_mails import small_mail
from tests.integration.scenarios.servers import PASSWORD, TIMEOUTS, UNICODE, MailServer

TIMING = SessionTiming(
    timeouts=TIMEOUTS, backoff_first=0.05, backoff_longest=0.3, refused_first=0.2, refused_longest=0.4
)


@dataclass
class Watched:
    """A watched user, and the mails delivered to it."""

    world: World
    server: MailServer
    user: str
    sent: set[bytes] = field(default_factory=set)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Run an idler; the block starts once the user is watched."""
        await self.world.rows("UPDATE users SET status = 'connecting', status_reason = NULL")
        async with running(functools.partial(main.serve, timing=TIMING), self.world.settings):
            await self.status("watching")
            yield

    async def status(self, status: str) -> None:
        await eventually(lambda: self.world.value("SELECT status = $1 FROM users", status), what=status)

    def deliver(self, subject: str, body: bytes = b"text\r\n") -> None:
        raw = small_mail(subject, body=body)
        self.sent.add(hashlib.sha1(raw).digest())
        self.server.deliver(self.user, raw)

    async def count_deliveries(self) -> Counter[bytes]:
        """Count the deliveries of each mail."""
        rows = await self.world.rows(
            "SELECT m.sha1 FROM deliveries d JOIN messages m"
            " ON m.id = d.message_id AND m.partner_id = d.partner_id"
        )
        return Counter(row["sha1"] for row in rows)

    async def all_found_once(self) -> None:
        async def complete() -> bool:
            return self.sent <= (await self.count_deliveries()).keys()

        await eventually(complete, what="all mails are found")
        assert await self.count_deliveries() == Counter(self.sent)


@pytest_asyncio.fixture
async def watched(server: MailServer, trusting: None, database_url: str, redis_url: str) -> Watched:
    return await create_watched(server, World(database_url, redis_url))


async def create_watched(server: MailServer, world: World, password: str = PASSWORD) -> Watched:
    partner = await world.partner(new_mail_webhook="https://app.example.com/hook")
    await world.provider(server.host, server.port, tls=server.tls)
    await world.connection(partner)
    user = await server.user(password)
    await world.user(partner, "joe", login=user, password=password)
    return Watched(world, server, user)


async def test_mails_during_idle_in_a_burst_and_after_a_gap_are_found_once_and_stay_unseen(watched: Watched):
    async with watched.watching():
        watched.deliver("one")
        await watched.all_found_once()
        for number in range(60):
            watched.deliver(f"burst {number}")
        await watched.all_found_once()
        await watched.server.next_uid(watched.user, 1_000_000)
        watched.deliver("after the gap")
        watched.deliver("big and 8-bit", bytes(range(14, 256)) * 4_000)
        await watched.all_found_once()

    assert watched.server.seen(watched.user) == 0


async def test_mail_that_arrives_while_no_idler_runs_is_found_once(watched: Watched):
    async with watched.watching():
        watched.deliver("first")
        await watched.all_found_once()
    for number in range(5):
        watched.deliver(f"meanwhile {number}")
    async with watched.watching():
        await watched.all_found_once()


async def test_lost_connections_and_a_restart_lose_no_mail(watched: Watched):
    async with watched.watching():
        watched.deliver("before")
        await watched.server.drop(watched.user)
        watched.deliver("dropped")
        await watched.all_found_once()
        await watched.server.restart()
        watched.deliver("restarted")
        await watched.all_found_once()
        await watched.status("watching")


async def test_a_new_uidvalidity_during_idle_and_at_reconnect_sends_each_mail_once(watched: Watched):
    async with watched.watching():
        watched.deliver("before")
        await watched.all_found_once()
        await watched.server.set_uidvalidity(watched.user, 4_000_000_001)
        watched.deliver("under the second")
        await watched.all_found_once()
    await watched.server.set_uidvalidity(watched.user, 4_000_000_002)
    watched.deliver("under the third")
    async with watched.watching():
        await watched.all_found_once()
        watched.deliver("at last")
        await watched.all_found_once()


async def test_an_expunge_by_another_client_hides_no_mail(watched: Watched):
    async with watched.watching():
        watched.deliver("goes")
        await watched.all_found_once()
        await watched.server.expunge(watched.user, 1)
        watched.deliver("comes")  # the number of mails in the mailbox is the same as before
        await watched.all_found_once()


@pytest.mark.parametrize("password", [UNICODE], ids=["unicode"])
async def test_a_wrong_password_is_reported_and_the_right_one_is_used(
    server: MailServer, trusting: None, database_url: str, redis_url: str, password: str
):
    watched = await create_watched(server, World(database_url, redis_url), password)
    partner = await watched.world.partner("globex", new_mail_webhook="https://app.example.com/hook")
    await watched.world.connection(partner)
    await watched.world.user(partner, "jim", login=watched.user, password=password + "!")

    async def statuses() -> list[str]:
        rows = await watched.world.rows("SELECT status FROM users ORDER BY tag")
        return [row["status"] for row in rows]

    async def wrong_password_is_reported() -> bool:
        return await statuses() == ["authentication_failed", "watching"]

    async def both_are_watched() -> bool:
        return await statuses() == ["watching", "watching"]

    async with running(functools.partial(main.serve, timing=TIMING), watched.world.settings):
        await eventually(wrong_password_is_reported)
        await watched.world.change_user(partner, "jim", login_password=password)
        await eventually(both_are_watched)
