"""The mail servers of the trial: the fake one, and Dovecot with and without NOTIFY."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from superimap.testing import ImapServer
from superimap.testing.dovecot.server import raise_inotify_limit
from tests.support.dovecot import Dovecot

FOLDERS = ("INBOX", "Projects/a", "Projects/b", "Support", "Fifth")
"""The watched folders of each user; `Projects/*` selects two of them."""
PASSWORD = "secret"
_NO_NOTIFY = (
    "imap_capability = IMAP4rev1 IDLE LITERAL+ UIDPLUS SPECIAL-USE LIST-EXTENDED LIST-STATUS ESEARCH\n"
)


class FolderServer(Protocol):
    """A mail server with accounts that have FOLDERS."""

    host: str
    port: int
    announces: bool

    def add(self, count: int) -> list[str]: ...
    async def deliver(self, user: str, folder: str, raw: bytes) -> None: ...
    async def move_all(self, user: str, source: str, target: str) -> None: ...
    async def rename(self, user: str, folder: str, name: str) -> None: ...
    async def delete(self, user: str, folder: str) -> None: ...
    async def connections(self) -> int: ...


class FakeFolders:
    """The fake server, in this process."""

    def __init__(self, imap: ImapServer, *, announces: bool) -> None:
        self._imap = imap
        self.host, self.port = imap.host, imap.port
        self.announces = announces
        if announces:
            imap.capabilities.append("NOTIFY")

    def add(self, count: int) -> list[str]:
        """Create accounts; returns their names."""
        for number in range(count):
            account = self._imap.add_account(f"user{number}", PASSWORD)
            for folder in FOLDERS[1:]:
                account.create(folder)
        return list(self._imap.accounts)

    async def deliver(self, user: str, folder: str, raw: bytes) -> None:
        """Deliver a mail."""
        self._imap.deliver(user, raw, folder)

    async def move_all(self, user: str, source: str, target: str) -> None:
        """Move all mails of a folder."""
        boxes = self._imap.accounts[user].mailboxes
        for message in list(boxes[source].messages):
            boxes[target].append(message.raw, message.internal_date)
            boxes[source].expunge(message.uid)

    async def rename(self, user: str, folder: str, name: str) -> None:
        """Rename a folder."""
        self._imap.accounts[user].rename(folder, name)

    async def delete(self, user: str, folder: str) -> None:
        """Delete a folder with its mails."""
        self._imap.accounts[user].delete(folder)

    async def connections(self) -> int:
        """Return the connections that are open now."""
        return len(self._imap.sessions)


class DovecotFolders:
    """Dovecot, which is told by its own commands."""

    def __init__(self, dovecot: Dovecot, *, announces: bool) -> None:
        self._dovecot = dovecot
        self._numbers = itertools.count()
        self.host, self.port = dovecot.host, dovecot.port
        self.announces = announces

    def add(self, count: int) -> list[str]:
        """Create accounts; returns their names."""
        users = self._dovecot.add_users([PASSWORD] * count)
        for user in users:
            for folder in FOLDERS[1:]:
                self._dovecot._maildir(user, folder)
        self._dovecot.wait_for_login(users[-1], PASSWORD)
        return users

    async def deliver(self, user: str, folder: str, raw: bytes) -> None:
        """Deliver a mail as the delivery agent does, which updates the index of the mailboxes."""
        path = self._dovecot.base / f"{next(self._numbers)}.eml"
        path.write_bytes(raw)
        path.chmod(0o644)
        await self._run("save", "-u", user, "-m", folder, str(path))

    async def move_all(self, user: str, source: str, target: str) -> None:
        """Move all mails of a folder."""
        await self._run("move", "-u", user, target, "mailbox", source, "all")

    async def rename(self, user: str, folder: str, name: str) -> None:
        """Rename a folder."""
        await self._run("mailbox", "rename", "-u", user, folder, name)

    async def delete(self, user: str, folder: str) -> None:
        """Delete a folder with its mails."""
        await self._run("mailbox", "delete", "-u", user, folder)

    async def connections(self) -> int:
        """Return the connections that are open now."""
        return sum(" imap " in f"{line} " for line in (await self._run("who", "-1")).splitlines()[1:])

    async def _run(self, *arguments: str) -> str:
        return await asyncio.to_thread(self._dovecot.doveadm, *arguments)


@contextlib.asynccontextmanager
async def running(name: str, base: Path) -> AsyncIterator[FolderServer]:
    """Run the server of this name in the folder `base`."""
    if name.startswith("fake"):
        async with ImapServer(log_size=0) as imap:
            yield FakeFolders(imap, announces=name == "fake-notify")
        return
    announces = name == "dovecot-notify"
    dovecot = Dovecot(base=base, extra="mailbox_list_index = yes\n" if announces else _NO_NOTIFY)
    raise_inotify_limit()
    try:
        await asyncio.to_thread(dovecot.start)
        yield DovecotFolders(dovecot, announces=announces)
    finally:
        dovecot.kill()
