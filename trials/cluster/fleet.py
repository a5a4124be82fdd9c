"""Idlers as processes, a dispatcher, users with mailboxes, and a steady stream of mail."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg

from fixtures.world import World, eventually, running
from superimap.core.environment import load_settings
from superimap.db.accounts.partners import NewPartner
from superimap.domain.shards import SHARD_COUNT
from superimap.idler.balance import MAX_SHARE
from superimap.launch import services
from superimap.testing import ImapServer, WebhookSink
from tests.support.mails import Ledger, mail
from tests.support.processes import Process, environment, started
from trials.cluster.session_spans import gaps, overlaps, percentile, session_spans

PAGE_BYTES = 4096
MAX_MAILS_UNDER_WAY = 100  # mails that are on their way at once


class Fleet:
    """The idlers, users and mails of one scenario, which starts, stops and kills idlers itself."""

    def __init__(
        self,
        world: World,
        db: asyncpg.Connection,
        imap: ImapServer,
        sink: WebhookSink,
        env: dict[str, str],
    ) -> None:
        self.db = db
        self.world = world
        self.imap = imap
        self.sink = sink
        self.env = env
        self.ledger = Ledger()
        self.idlers: list[Process] = []
        self.partner: NewPartner | None = None
        self.wanted: set[str] = set()
        self._stack = contextlib.AsyncExitStack()
        self._numbers = itertools.count()

    # Users and mail.

    async def prepare(self, count: int) -> None:
        """Create a partner with a receiver, and `count` users."""
        self.partner = await self.world.partner(new_mail_webhook=self.sink.url("/hook"))
        await self.world.provider(self.imap.host, self.imap.port)
        await self.world.connection(self.partner)
        await self.add_users(count)

    async def add_users(self, count: int) -> None:
        """Create `count` more users in one transaction."""
        assert self.partner is not None
        names = [f"user{number}" for number in range(len(self.wanted), len(self.wanted) + count)]
        for name in names:
            self.imap.add_account(name, "pw")
        self.wanted.update(names)
        await self.world.users(self.partner, {name: name for name in names}, password="pw")

    def send(self, user: str, *, size: int = 600) -> None:
        """Deliver a mail to this user, and record it in the ledger."""
        raw = mail(next(self._numbers), to=user, size=size)
        self.ledger.note(raw, path="/hook", tag=user)
        self.imap.deliver(user, raw)

    def send_each(self, *, size: int = 600) -> None:
        """Deliver a mail to every user."""
        for user in sorted(self.wanted):
            self.send(user, size=size)

    @contextlib.asynccontextmanager
    async def steady_mail(self, per_second: float) -> AsyncIterator[None]:
        """Deliver mail to the users in turn for the length of the block, slower on a slow machine."""

        async def pour() -> None:
            for user in itertools.cycle(sorted(self.wanted)):
                if len(self.ledger.sent) - self.sink.count < MAX_MAILS_UNDER_WAY + len(self.wanted):
                    self.send(user)
                await asyncio.sleep(1 / per_second)

        task = asyncio.create_task(pour())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # Idlers.

    async def start_idlers(self, count: int = 1, *, prefix: Sequence[str] = (), **env: str) -> list[Process]:
        """Start `count` more idlers, by the command `prefix` if there is one."""
        hired = [
            await self._stack.enter_async_context(started("idler", env=self.env | env, prefix=prefix))
            for _ in range(count)
        ]
        self.idlers += hired
        return hired

    async def stop_idlers(self, *idlers: Process) -> None:
        """Stop idlers by SIGTERM, and wait until they have handed over their shards."""
        for idler in idlers:
            idler.terminate()
        for idler in idlers:
            assert await idler.ended() == 0, idler.output
            self.idlers.remove(idler)

    def kill(self, idler: Process) -> None:
        """kill -9."""
        idler.kill()
        self.idlers.remove(idler)

    @contextlib.asynccontextmanager
    async def frozen(self, idler: Process) -> AsyncIterator[None]:
        """SIGSTOP for the length of the block, then SIGCONT."""
        idler.popen.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            idler.popen.send_signal(signal.SIGCONT)

    async def close(self) -> None:
        """Stop every idler that still runs."""
        await self._stack.aclose()

    # Conditions.

    async def wait_until_watched(self, count: int | None = None, *, within: float = 60.0) -> float:
        """Wait until `count` users, by default all, have an idle session; returns the seconds it took."""
        began = time.monotonic()
        number = len(self.wanted) if count is None else count
        await self.imap.wait_for(lambda: len(self.watching() & self.wanted) == number, timeout=within)
        return time.monotonic() - began

    def watching(self) -> set[str | None]:
        """The users who have an idle session."""
        return {session.username for session in self.imap.sessions if session.idling}

    async def wait_until_shared(self, *, within: float = 60.0) -> None:
        """Wait until every shard is owned, and every running idler owns some."""

        async def is_shared() -> bool:
            rows = await self.db.fetch("SELECT owner, count(*) FROM shards GROUP BY owner")
            return len(rows) == len(self.idlers) and all(row["owner"] for row in rows)

        await eventually(is_shared, within=within, what="every idler owns shards")

    async def wait_until_balanced(self, *, within: float = 60.0) -> None:
        """Wait until no running idler has far more than its share of the shards."""
        most = MAX_SHARE * SHARD_COUNT / len(self.idlers)
        sql = "SELECT count(*) FROM shards WHERE owner IS NOT NULL GROUP BY owner"

        async def is_balanced() -> bool:
            counts = [row["count"] for row in await self.db.fetch(sql)]
            return sum(counts) == SHARD_COUNT and len(counts) == len(self.idlers) and max(counts) <= most + 1

        await eventually(is_balanced, within=within, what="the shards are balanced")

    async def wait_until_joined(self, *, within: float = 60.0) -> None:
        """Wait until every running idler has joined the cluster."""
        count = "SELECT count(*) = $1 FROM idlers WHERE NOT is_stopping"
        await eventually(
            lambda: self.db.fetchval(count, len(self.idlers)), within=within, what="all have joined"
        )

    async def wait_until_owned(self, *, within: float = 60.0) -> float:
        """Wait until every shard is owned by an idler with a valid heartbeat; returns the seconds it took."""
        began = time.monotonic()
        sql = """
            SELECT bool_and(i.heartbeat_at > now() - make_interval(secs => $1)) AND count(i.id) = count(*)
            FROM shards s LEFT JOIN idlers i ON i.id = s.owner
        """
        expiry = float(self.env["HEARTBEAT_EXPIRY"])
        await eventually(lambda: self.db.fetchval(sql, expiry), within=within, what="every shard is owned")
        return time.monotonic() - began

    async def wait_until_delivered(self, *, within: float = 60.0) -> float:
        """Wait until every mail has its webhook; returns the seconds it took."""
        began = time.monotonic()

        async def all_came() -> bool:
            return self.sink.count >= len(self.ledger.sent) and not self.ledger.lost(self.sink.received)

        await eventually(all_came, within=within, what="every mail has its webhook")
        return time.monotonic() - began

    # What came of it.

    def figures(self) -> dict[str, Any]:
        """Count users, mails and webhooks; assert that each mail caused exactly one webhook, at the right path."""
        received = list(self.sink.received)
        figures = {
            "users": len(self.wanted),
            "mails": len(self.ledger.sent),
            "lost": len(self.ledger.lost(received)),
            "duplicates": self.ledger.duplicates(received),
        }
        assert self.ledger.astray(received) == []
        assert figures["lost"] == figures["duplicates"] == 0, figures
        return figures

    def move_figures(self, *, since: float) -> dict[str, Any]:
        """Gaps between sessions, and users signed in twice, from the log of the mail server."""
        found = session_spans(self.imap.log)
        lengths = list(gaps(found, since=since))
        return {
            "moved": len(lengths),
            "gap_p50_s": percentile(lengths, 0.5),
            "gap_p95_s": percentile(lengths, 0.95),
            "gap_max_s": percentile(lengths, 1.0),
            "signed_in_twice": len(overlaps(found, since=since)),
        }

    def resident_mib(self) -> float:
        """The resident memory of all idlers."""
        pages = [int(Path(f"/proc/{idler.popen.pid}/statm").read_text().split()[1]) for idler in self.idlers]
        return round(sum(pages) * PAGE_BYTES / 2**20, 1)


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection to the database."""
    db = await asyncpg.connect(url)
    try:
        yield db
    finally:
        await db.close()


@contextlib.asynccontextmanager
async def fleet(
    world: World, *, count: int, imap_host: str = "127.0.0.1", **env: str
) -> AsyncIterator[Fleet]:
    """A fleet with `count` users, a dispatcher, and no idlers.

    Scenarios do not test the dispatcher, so it runs in this process, which has loaded it already.
    """
    async with (
        contextlib.AsyncExitStack() as stack,
        ImapServer(imap_host, log_size=2_000_000) as imap,
        WebhookSink() as sink,
    ):
        db = await stack.enter_async_context(connected(world.database_url))
        whole = Fleet(world, db, imap, sink, environment(world) | {"LOG_LEVEL": "info"} | env)
        await whole.prepare(count)
        settings = load_settings({name.lower(): value for name, value in whole.env.items() if name != "PATH"})
        async with running(services.run_dispatcher, settings):
            try:
                yield whole
            finally:
                await whole.close()
