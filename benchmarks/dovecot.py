"""What if the mail of a benchmark comes from a real server? From Dovecot, with a Maildir for each user.

Mails are put there as a delivery agent does it: written to tmp, renamed into new, where Dovecot sees them by
inotify. That takes this process 0.1 ms each, so that it holds up nothing.
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

from benchmarks import house
from benchmarks.mailroom import Mailroom, hand_out
from benchmarks.measure import BenchError
from superimap.testing.dovecot import server as dovecot
from superimap.testing.dovecot.server import DovecotServer

MEMORY = Path("/dev/shm")  # noqa: S108 - mkdtemp, and a disk that others use would be measured otherwise
ROOM_PER_USER = 1 << 20


class FromDovecot:
    """A Mailroom of Dovecot's."""

    def __init__(self, server: DovecotServer) -> None:
        self._server = server
        self._numbers = itertools.count()
        self.port = server.port

    @property
    def groups(self) -> Mapping[str, int]:
        """See Mailroom."""
        return {"mail_server": self._server.pid or 0}

    async def idling(self) -> int:
        """How many sessions are hibernated: from then on mail is told at once, and before within half a second."""
        return sum(map(_watches, house.members(self._server.pid or 0, name="imap-hibernate")))

    async def deliver(self, count: int, *, users: int, size: int, rate: float = 0.0) -> dict[str, float]:
        """See Mailroom."""
        some = itertools.islice(self._numbers, count)
        return await hand_out(self._server.deliver, some, users=users, size=size, rate=rate)


@asynccontextmanager
async def running(users: int) -> AsyncIterator[Mailroom]:
    """A Dovecot with so many users, for as long as this lasts. Raises BenchError if there can be none."""
    if dovecot.DOVECOT_PROGRAM is None:
        raise BenchError("Dovecot is not installed; `apt-get install dovecot-imapd`, or take --server own.")
    wanted = users + 128
    if not dovecot.raise_inotify_limit(wanted):
        raise BenchError(
            f"Dovecot needs {wanted} inotify instances for {users} users; raise the limit "
            f"(`sysctl fs.inotify.max_user_instances={wanted}` as root) or take a smaller --idle."
        )
    with _open_folder(users) as base:
        # A mail that comes in the last half second before is told with the next one only: no burst may.
        server = DovecotServer(base, hibernate_after=2 + users // 90)
        server.add({f"user{number}": "secret" for number in range(users)})
        try:
            await _start(server)
            yield FromDovecot(server)
        finally:
            await asyncio.to_thread(server.kill)


async def _start(server: DovecotServer) -> None:
    try:
        await asyncio.to_thread(server.start)
    except RuntimeError as error:
        raise BenchError(str(error)) from None


@contextmanager
def _open_folder(users: int) -> Iterator[Path]:
    """A folder that Dovecot's users may enter, in memory where there is room."""
    is_roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK)
    is_roomy = is_roomy and shutil.disk_usage(MEMORY).free > users * ROOM_PER_USER
    with tempfile.TemporaryDirectory(
        prefix="superimap-bench-", dir=MEMORY if is_roomy else None, ignore_cleanup_errors=True
    ) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _watches(pid: int) -> int:
    """How many mailboxes a process watches."""
    folder, found = f"/proc/{pid}/fd", 0
    try:
        for name in os.listdir(folder):  # noqa: PTH208 - thousands of names
            found += os.readlink(f"{folder}/{name}") == "anon_inode:inotify"  # noqa: PTH115
    except OSError:
        return 0
    return found
