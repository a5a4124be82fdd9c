"""Mail for benchmarks from Dovecot, with a Maildir for each user.

Mails are delivered as a delivery agent does it: written to tmp and renamed into new, where Dovecot sees them by
inotify. That takes this process 0.1 ms each, so it does not delay the measurement.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from benchmarks import processes
from benchmarks.mail_source import MailSource, deliver_in_turn
from benchmarks.measure import BenchError
from superimap.testing.dovecot import server as dovecot
from superimap.testing.dovecot.server import DovecotServer

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp, and a disk that others use would be measured otherwise
BYTES_PER_USER = 1 << 20


class DovecotSource:
    """A MailSource that delivers into the Maildirs of a Dovecot."""

    def __init__(self, server: DovecotServer) -> None:
        self._server = server
        self._numbers = itertools.count()
        self.port = server.port

    @property
    def groups(self) -> Mapping[str, int]:
        """See MailSource."""
        return {"mail_server": self._server.pid or 0}

    async def idling(self) -> int:
        """The number of hibernated sessions, which announce mail at once; others take up to half a second."""
        return sum(map(_watches, processes.members(self._server.pid or 0, name="imap-hibernate")))

    async def deliver(self, count: int, *, users: int, size: int, rate: float = 0.0) -> dict[str, float]:
        """See MailSource."""
        some = itertools.islice(self._numbers, count)
        return await deliver_in_turn(self._server.deliver, some, users=users, size=size, rate=rate)


@asynccontextmanager
async def running(users: int) -> AsyncIterator[MailSource]:
    """Run a Dovecot with this many users for the length of the block. Raises BenchError if that is impossible."""
    if dovecot.DOVECOT_PROGRAM is None:
        raise BenchError("Dovecot is not installed; `apt-get install dovecot-imapd`, or use --server own.")
    wanted = users + 128
    if not dovecot.raise_inotify_limit(wanted):
        raise BenchError(
            f"Dovecot needs {wanted} inotify instances for {users} users; raise the limit "
            f"(`sysctl fs.inotify.max_user_instances={wanted}` as root) or use a smaller --idle."
        )
    with _open_folder(users) as base:
        # Mail that arrives half a second before hibernation is announced only with the next mail, so all
        # sessions must hibernate before a burst.
        server = DovecotServer(base, hibernate_after=2 + users // 90)
        server.add({f"user{number}": "secret" for number in range(users)})
        try:
            await _start(server)
            yield DovecotSource(server)
        finally:
            await asyncio.to_thread(server.kill)


async def _start(server: DovecotServer) -> None:
    try:
        await asyncio.to_thread(server.start)
    except RuntimeError as error:
        raise BenchError(str(error)) from None


@contextmanager
def _open_folder(users: int) -> Iterator[Path]:
    """A folder that Dovecot's users may enter, in memory if there is room."""
    is_roomy = SHARED_MEMORY.is_dir() and os.access(SHARED_MEMORY, os.W_OK)
    is_roomy = is_roomy and shutil.disk_usage(SHARED_MEMORY).free > users * BYTES_PER_USER
    with tempfile.TemporaryDirectory(
        prefix="superimap-bench-", dir=SHARED_MEMORY if is_roomy else None, ignore_cleanup_errors=True
    ) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _watches(pid: int) -> int:
    """The number of mailboxes that a process watches."""
    folder, found = f"/proc/{pid}/fd", 0
    try:
        for name in os.listdir(folder):  # noqa: PTH208 - thousands of names
            found += os.readlink(f"{folder}/{name}") == "anon_inode:inotify"  # noqa: PTH115
    except OSError:
        return 0
    return found
