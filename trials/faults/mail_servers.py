"""Mail servers for faults: the fake server and Dovecot, behind one interface."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

from fixtures.engines import open_folder
from superimap.testing import ImapServer
from superimap.testing.dovecot import raise_inotify_limit
from tests.support.dovecot import Dovecot


class MailServer(Protocol):
    """What a fault run needs of a mail server. Mail can be delivered while it is down."""

    host: str
    port: int
    connects: int

    def add_account(self, username: str, password: str, /) -> object: ...

    def deliver(self, username: str, raw: bytes, /, *, internal_date: datetime | None = None) -> object: ...

    async def wait_until_watched(self, users: int) -> None:
        """Wait until this many users have a session."""

    def count_read(self) -> int:
        """The number of mails that are marked as read."""

    async def kill(self) -> None:
        """Stop the server and cut every connection."""

    async def restart(self) -> None:
        """Start it again on the same port, with the same mail."""


class FakeMailServer(ImapServer):
    """The fake server; a session counts once it idles."""

    async def wait_until_watched(self, users: int) -> None:
        await self.wait_for(
            lambda: len({each.username for each in self.sessions if each.idling}) == users, timeout=60
        )

    def count_read(self) -> int:
        inboxes = [account.mailboxes["INBOX"].messages for account in self.accounts.values()]
        return sum("\\Seen" in message.flags for inbox in inboxes for message in inbox)

    async def kill(self) -> None:
        await self.refuse()
        self.drop_all(reset=True)

    async def restart(self) -> None:
        await self.listen()


class DovecotMailServer:
    """Dovecot as distributions configure it: a process for each session, and none hibernates."""

    def __init__(self, dovecot: Dovecot) -> None:
        self._dovecot = dovecot
        self._users: list[str] = []
        self.connects = 0  # not counted
        self.host, self.port = dovecot.host, dovecot.port

    def add_account(self, username: str, password: str, /) -> None:
        self._dovecot.add_user(username, password)
        self._users.append(username)

    def deliver(self, username: str, raw: bytes, /, *, internal_date: datetime | None = None) -> None:
        self._dovecot.deliver(username, raw, date=internal_date)

    async def wait_until_watched(self, users: int) -> None:
        async with asyncio.timeout(60):
            while len(await asyncio.to_thread(self._signed_in)) < users:
                await asyncio.sleep(0.2)

    def _signed_in(self) -> set[str]:
        return {line.split()[0] for line in self._dovecot.doveadm("who", "-1").splitlines()[1:]}

    def count_read(self) -> int:
        return sum("S" in flags for user in self._users for flags in self._dovecot.flags(user).values())

    async def kill(self) -> None:
        await asyncio.to_thread(self._dovecot.kill)

    async def restart(self) -> None:
        await asyncio.to_thread(self._dovecot.start)


@contextlib.asynccontextmanager
async def fake() -> AsyncIterator[FakeMailServer]:
    """Run the fake server for the length of the block."""
    async with FakeMailServer() as server:
        yield server


@contextlib.asynccontextmanager
async def dovecot() -> AsyncIterator[DovecotMailServer]:
    """Run a Dovecot for the length of the block."""
    with open_folder("superimap-faults-dovecot-") as base:
        server = Dovecot(base=base, hibernate_after=0)
        raise_inotify_limit()
        try:
            await asyncio.to_thread(server.start)
            yield DovecotMailServer(server)
        finally:
            await asyncio.to_thread(server.kill)
