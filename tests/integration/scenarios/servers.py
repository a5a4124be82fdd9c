"""One interface to the fake IMAP server and to Dovecot, for scenarios that run against both.

It expects nothing beyond RFC 3501, RFC 2177 and RFC 9051.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import itertools
import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Literal

from imapclient import imap_utf7

from superimap.imap.client import ImapClient
from superimap.imap.connection import connect
from superimap.imap.errors import AuthenticationFailed
from superimap.imap.types import Login, ServerAddress, Timeouts
from superimap.testing import ImapServer
from tests.support.dovecot import Dovecot
from tests.support.leaks import watch

Tls = Literal["none", "starttls", "tls"]

PASSWORD = 's3cr3t "quoted" back\\slash'
UNICODE = 's3cr3t-pässwörd "\\ ключ'
LONG = "s3cr3t-" + "x" * 800
PASSWORDS = {
    kind: watch.plant(password)
    for kind, password in {"quoted": PASSWORD, "unicode": UNICODE, "long": LONG}.items()
}
TIMEOUTS = Timeouts(connect=10, login=10, command=10, fetch=20, done=10, logout=0.5)


class MailServer(abc.ABC):
    """A running server. Users can log in as soon as `user` has returned."""

    host = "localhost"
    port: int
    tls: Tls
    context: ssl.SSLContext
    """Trusts the server."""

    @property
    def where(self) -> ServerAddress:
        return ServerAddress(self.host, self.port, self.tls)

    @contextlib.asynccontextmanager
    async def session(
        self, user: str, password: str = PASSWORD, *, where: ServerAddress | None = None
    ) -> AsyncIterator[ImapClient]:
        """A logged-in ImapClient; `where` replaces the address of the server."""
        login = Login(user, password)
        async with connect(where or self.where, login, timeouts=TIMEOUTS, tls_context=self.context) as client:
            yield client

    @abc.abstractmethod
    async def user(self, password: str = PASSWORD) -> str:
        """A user with an empty INBOX."""

    @abc.abstractmethod
    def deliver(
        self, user: str, raw: bytes, folder: str = "INBOX", *, date: datetime | None = None
    ) -> None: ...

    @abc.abstractmethod
    def seen(self, user: str) -> int:
        """The number of mails in INBOX that have a flag."""

    @abc.abstractmethod
    async def expunge(self, user: str, uid: int) -> None:
        """Expunge a mail as another client does."""

    @abc.abstractmethod
    async def next_uid(self, user: str, uid: int) -> None:
        """Make the next mail of INBOX get this UID, or a higher one."""

    @abc.abstractmethod
    async def set_uidvalidity(self, user: str, value: int, folder: str = "INBOX") -> None: ...

    @abc.abstractmethod
    async def create(self, user: str, folder: str) -> None: ...

    @abc.abstractmethod
    async def rename(self, user: str, folder: str, new: str) -> None: ...

    @abc.abstractmethod
    async def delete(self, user: str, folder: str) -> None: ...

    @abc.abstractmethod
    async def drop(self, user: str) -> None:
        """End this user's sessions."""

    @abc.abstractmethod
    async def restart(self) -> None:
        """End all sessions without a BYE, and listen again on the same port."""


class Fake(MailServer):
    """The fake IMAP server."""

    def __init__(self, imap: ImapServer, tls: Tls, context: ssl.SSLContext) -> None:
        self.imap, self.tls, self.context, self.port = imap, tls, context, imap.port
        self._numbers = itertools.count(1)

    async def user(self, password: str = PASSWORD) -> str:
        name = f"user {next(self._numbers)}"
        self.imap.add_account(name, password)
        return name

    def deliver(self, user: str, raw: bytes, folder: str = "INBOX", *, date: datetime | None = None) -> None:
        self.imap.deliver(user, raw, folder, date)

    def seen(self, user: str) -> int:
        return sum(bool(message.flags) for message in self.imap.accounts[user].inbox.messages)

    async def expunge(self, user: str, uid: int) -> None:
        self.imap.accounts[user].inbox.expunge(uid)

    async def next_uid(self, user: str, uid: int) -> None:
        self.imap.accounts[user].inbox.uidnext = uid

    async def set_uidvalidity(self, user: str, value: int, folder: str = "INBOX") -> None:
        self.imap.accounts[user].mailboxes[folder].set_uidvalidity(value)

    async def create(self, user: str, folder: str) -> None:
        self.imap.accounts[user].create(folder)

    async def rename(self, user: str, folder: str, new: str) -> None:
        self.imap.accounts[user].rename(folder, new)

    async def delete(self, user: str, folder: str) -> None:
        self.imap.accounts[user].delete(folder)

    async def drop(self, user: str) -> None:
        for session in self.imap.sessions_of(user):
            session.transport.abort()

    async def restart(self) -> None:
        await self.imap.refuse()
        self.imap.drop_all()
        await self.imap.listen()


class Users:
    """Users of Dovecot, created in advance: it looks for new ones only once a second."""

    STOCK = 60

    def __init__(self, dovecot: Dovecot) -> None:
        self.dovecot = dovecot
        self._ready: dict[str, list[str]] = {}

    async def take(self, password: str) -> str:
        """A user that no test has used."""
        if not self._ready.get(password):
            await self._make()
        return self._ready[password].pop()

    async def _make(self) -> None:
        kinds = [PASSWORD] * self.STOCK + [UNICODE, LONG] * 8
        made = self.dovecot.add_users(kinds)
        for user, password in zip(made, kinds, strict=True):
            self._ready.setdefault(password, []).append(user)
        where = ServerAddress(self.dovecot.host, self.dovecot.port, "none")
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(AuthenticationFailed):
                    async with connect(where, Login(made[-1], kinds[-1])):
                        return


class Real(MailServer):
    """Dovecot."""

    def __init__(self, users: Users, tls: Tls, context: ssl.SSLContext) -> None:
        self.users, self.dovecot, self.tls, self.context = users, users.dovecot, tls, context
        self.port = self.dovecot.tls_port if tls == "tls" else self.dovecot.port

    async def user(self, password: str = PASSWORD) -> str:
        return await self.users.take(password)

    def deliver(self, user: str, raw: bytes, folder: str = "INBOX", *, date: datetime | None = None) -> None:
        name = (
            imap_utf7.encode(folder).decode("ascii") if folder != "INBOX" else folder
        )  # the form of Maildir
        self.dovecot.deliver(user, raw, folder=name, date=date)

    def seen(self, user: str) -> int:
        return sum(bool(flags) for flags in self.dovecot.flags(user).values())

    async def expunge(self, user: str, uid: int) -> None:
        await self._doveadm("expunge", "-u", user, "mailbox", "INBOX", "uid", str(uid))

    async def next_uid(self, user: str, uid: int) -> None:
        await self._doveadm("mailbox", "update", "-u", user, "--min-next-uid", str(uid), "INBOX")

    async def set_uidvalidity(self, user: str, value: int, folder: str = "INBOX") -> None:
        await self._doveadm("mailbox", "update", "-u", user, "--uid-validity", str(value), folder)

    async def create(self, user: str, folder: str) -> None:
        await self._doveadm("mailbox", "create", "-u", user, folder)

    async def rename(self, user: str, folder: str, new: str) -> None:
        await self._doveadm("mailbox", "rename", "-u", user, folder, new)

    async def delete(self, user: str, folder: str) -> None:
        await self._doveadm("mailbox", "delete", "-u", user, folder)

    async def drop(self, user: str) -> None:
        await self._doveadm("kick", user)

    async def restart(self) -> None:
        await asyncio.to_thread(self.dovecot.restart)

    async def _doveadm(self, *arguments: str) -> None:
        await asyncio.to_thread(self.dovecot.doveadm, *arguments)


class Between:
    """A man in the middle who hides capabilities, or answers NO to STARTTLS; keeps what clients send."""

    def __init__(self, server: MailServer, *, hidden: Sequence[bytes] = (), refuses: bytes = b"") -> None:
        self._server, self._hidden, self._refuses = server, hidden, refuses
        self.said = bytearray()
        self._pipes = asyncio.TaskGroup()

    @property
    def where(self) -> ServerAddress:
        return ServerAddress("localhost", self._listener.sockets[0].getsockname()[1], self._server.tls)

    async def __aenter__(self) -> Between:
        await self._pipes.__aenter__()
        self._listener = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._listener.close()
        await self._pipes.__aexit__(None, None, None)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far, far_out = await asyncio.open_connection("127.0.0.1", self._server.port)
        self._pipes.create_task(self._up(reader, writer, far_out))
        self._pipes.create_task(self._down(far, writer))

    async def _up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far_out: asyncio.StreamWriter
    ) -> None:
        while line := await reader.readline():
            self.said += line
            if self._refuses and self._refuses in line:
                writer.write(line.partition(b" ")[0] + b" NO not today\r\n")
            else:
                far_out.write(line)
        far_out.close()

    async def _down(self, far: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await far.readline():
            for word in self._hidden:
                line = line.replace(word, b"X-NOTHING")
            writer.write(line)
        writer.close()
