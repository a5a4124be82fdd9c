"""Where does the mail of a fault come from? From our own server, or from Dovecot: the faults do not mind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

from fixtures.engines import open_folder
from superimap.testing import ImapServer
from tests.support.dovecot import Dovecot, allow_watches


class MailServer(Protocol):
    """What a bed wants of a mail server; mail can be delivered while it is down."""

    host: str
    port: int

    def add_account(self, username: str, password: str, /) -> object: ...

    def deliver(self, username: str, raw: bytes, /, *, internal_date: datetime | None = None) -> object: ...

    async def watched(self, users: int) -> None:
        """Until so many users have a session."""

    def seen(self) -> int:
        """How many mails are marked as read."""

    async def kill(self) -> None:
        """It is gone, and every connection with it."""

    async def back(self) -> None:
        """It is there again, on the same port, with the same mail."""


class Own(ImapServer):
    """Ours; a session counts once it idles."""

    async def watched(self, users: int) -> None:
        await self.wait_for(
            lambda: len({each.username for each in self.sessions if each.idling}) == users, timeout=60
        )

    def seen(self) -> int:
        inboxes = [account.mailboxes["INBOX"].messages for account in self.accounts.values()]
        return sum("\\Seen" in message.flags for inbox in inboxes for message in inbox)

    async def kill(self) -> None:
        await self.refuse()
        self.drop_all(reset=True)

    async def back(self) -> None:
        await self.listen()


class Real:
    """Dovecot, as a distribution has it: a process for each session, and none hibernates."""

    def __init__(self, dovecot: Dovecot) -> None:
        self._dovecot = dovecot
        self._users: list[str] = []
        self.host, self.port = dovecot.host, dovecot.port

    def add_account(self, username: str, password: str, /) -> None:
        self._dovecot.add_user(username, password)
        self._users.append(username)

    def deliver(self, username: str, raw: bytes, /, *, internal_date: datetime | None = None) -> None:
        self._dovecot.deliver(username, raw, date=internal_date)

    async def watched(self, users: int) -> None:
        async with asyncio.timeout(60):
            while len(await asyncio.to_thread(self._signed_in)) < users:
                await asyncio.sleep(0.2)

    def _signed_in(self) -> set[str]:
        return {line.split()[0] for line in self._dovecot.doveadm("who", "-1").splitlines()[1:]}

    def seen(self) -> int:
        return sum("S" in flags for user in self._users for flags in self._dovecot.flags(user).values())

    async def kill(self) -> None:
        await asyncio.to_thread(self._dovecot.kill)

    async def back(self) -> None:
        await asyncio.to_thread(self._dovecot.start)


@contextlib.asynccontextmanager
async def own() -> AsyncIterator[Own]:
    """Our own server, for the length of the block."""
    async with Own() as server:
        yield server


@contextlib.asynccontextmanager
async def dovecot() -> AsyncIterator[Real]:
    """A Dovecot, for the length of the block."""
    with open_folder("superimap-faults-dovecot-") as base:
        server = Dovecot(base=base, hibernate_after=0)
        allow_watches()
        try:
            await asyncio.to_thread(server.start)
            yield Real(server)
        finally:
            await asyncio.to_thread(server.kill)
