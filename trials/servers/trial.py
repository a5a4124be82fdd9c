"""One server under test: mail arrives while sessions idle, while no idler runs, and while the server dies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from fixtures.world import World, eventually
from superimap.db.accounts.partners import NewPartner
from superimap.testing import WebhookSink
from tests.support.processes import Process, environment, started
from trials.faults.oracle import PartnerKeys
from trials.servers.hosted import PASSWORD, TestedServer
from trials.servers.post import Post
from trials.servers.transcripts import RecordingProxy
from trials.servers.verdict import (
    FinalMailbox,
    broken_guarantees,
    broken_mailboxes,
    by_message_id,
    latencies,
)

INBOX_USERS, FOLDER_USER = ["user0", "user1", "user2", "user3"], "user4"
RECREATED = ["user3", FOLDER_USER]
RENEW_SECONDS = 8
MOST_SECONDS_LATE = 3.0 * RENEW_SECONDS
QUIET_SECONDS = 45.0
"""Seconds without a webhook after which the missing ones count as lost."""
DUPLICATE_SECONDS = 0.5
"""Seconds after the last webhook in which a duplicate would come."""


@dataclass(frozen=True)
class Amounts:
    """Mails per user in each phase."""

    idle: int = 18
    away: int = 9
    killed: int = 8
    recreated: int = 13


FEW = Amounts(idle=3, away=2, killed=2, recreated=0)
"""For the test suite."""


@dataclass
class ServerTrial:
    """The users of one server, the processes that watch them, and the record of what was sent and received."""

    server: TestedServer
    world: World
    sink: WebhookSink
    proxy: RecordingProxy
    post: Post
    partner: NewPartner
    processes: list[Process] = field(default_factory=list)
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    @property
    def users(self) -> list[str]:
        """All users."""
        return [*INBOX_USERS, FOLDER_USER]

    async def run(self, amounts: Amounts) -> None:
        """Send mail in every phase, and wait for its webhooks after each."""
        await self.start_idler()
        await self._while_idle(amounts.idle)
        await self._while_away(amounts.away)
        await self._while_killed(amounts.killed)
        if amounts.recreated:
            await self._recreate(amounts.recreated)

    async def _while_idle(self, count: int) -> None:
        watched = "SELECT count(*) = $1 FROM users WHERE status = 'watching'"
        await eventually(
            lambda: self.world.value(watched, len(self.users)), within=30, what="all users are watched"
        )
        await self._each(self.post.send, count, "idle", pause=0.05)
        await self.settle()
        await self._each(self.post.read_and_delete, 2)
        await self._each(self.post.send, 1, "idle")
        await self.settle()

    async def _while_away(self, count: int) -> None:
        self.processes[-1].kill()
        await self._each(self.post.send, count, "away")
        await self._each(self.post.read_and_delete, 1)
        await self.start_idler()
        await self.settle()

    async def _while_killed(self, count: int) -> None:
        enough = len(self.post.sent) + count
        sending = asyncio.create_task(self._each(self.post.send, count, "killed", pause=0.1))
        while len(self.post.sent) < enough:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(self.server.kill)
        await asyncio.sleep(1)
        await asyncio.to_thread(self.server.start)
        await sending
        await self.settle()

    async def _recreate(self, count: int) -> None:
        """Delete and create two watched folders. UIDVALIDITY is a time in seconds, so a second passes before."""
        await asyncio.sleep(1.1)
        for user in RECREATED:
            await asyncio.to_thread(self.post.recreate_folder, user)
        await asyncio.gather(
            *(asyncio.to_thread(self.post.send, user, count, "recreated") for user in RECREATED)
        )
        await self.settle()

    async def _each(self, method: Callable[..., object], *args: object, **named: object) -> None:
        await asyncio.gather(*(asyncio.to_thread(method, user, *args, **named) for user in self.users))

    async def start_idler(self) -> None:
        """Start an idler."""
        env = environment(self.world, IDLE_RENEW=str(RENEW_SECONDS), LOG_LEVEL="info")
        self.processes.append(await self._stack.enter_async_context(started("idler", env=env)))

    async def stop_idlers(self) -> None:
        """Stop the idler that still runs."""
        await self._stack.aclose()

    async def settle(self) -> None:
        """Wait until every mail has a webhook, or none has arrived for QUIET_SECONDS; then for duplicates."""
        with contextlib.suppress(TimeoutError):
            while self.post.sent.keys() - by_message_id(self.sink.received).keys():
                await self.sink.wait_for(self.sink.count + 1, timeout=QUIET_SECONDS)
        await asyncio.sleep(DUPLICATE_SECONDS)

    async def verdict(self) -> dict[str, Any]:
        """The figures, and what was broken."""
        sent, webhooks = self.post.sent, by_message_id(self.sink.received)
        keys = PartnerKeys(self.partner.api_key, self.partner.signing_secret)
        states = await asyncio.to_thread(self._mailboxes)
        return {
            "server": self.server.name,
            "mails": len(sent),
            **latencies(sent, webhooks),
            "broken": [
                *broken_guarantees(sent, webhooks, keys, most_seconds_late=MOST_SECONDS_LATE),
                *broken_mailboxes(states, webhooks),
            ],
        }

    def _mailboxes(self) -> dict[str, FinalMailbox]:
        return {
            user: FinalMailbox(self.post.contents(user), self.post.count_seen(user)) for user in self.users
        }


@contextlib.asynccontextmanager
async def prepared(server: TestedServer, world: World) -> AsyncIterator[ServerTrial]:
    """Start the server with its users, the proxy, and a dispatcher; the idler is not started."""
    folders = dict.fromkeys(INBOX_USERS, "INBOX") | {FOLDER_USER: f"{server.folder_prefix}Watched"}
    post = Post(server, folders)
    await asyncio.to_thread(server.prepare, list(folders))
    try:
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(post.create_folder, FOLDER_USER)
        async with (
            RecordingProxy(server.port).running() as proxy,
            WebhookSink() as sink,
            started("dispatcher", env=environment(world, LOG_LEVEL="info")),
        ):
            partner = await world.partner(new_mail_webhook=sink.url("/hook"))
            await _connect_users(world, partner, proxy.port, folders[FOLDER_USER])
            trial = ServerTrial(server, world, sink, proxy, post, partner)
            try:
                yield trial
            finally:
                await trial.stop_idlers()
    finally:
        await asyncio.to_thread(server.kill)


async def _connect_users(world: World, partner: NewPartner, port: int, folder: str) -> None:
    """Create the users: under one provider those whose INBOX is watched, under another that of the folder."""
    for code, users in {"INBOX": INBOX_USERS, "FOLDER": [FOLDER_USER]}.items():
        named = {} if code == "INBOX" else {"folders": folder}
        await world.provider(TestedServer.host, port, code=code, **named)
        await world.connection(partner, code=code)
        await world.users(partner, {user: user for user in users}, password=PASSWORD, code=code)
