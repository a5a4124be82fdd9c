"""Supervisor of sessions: it starts and ends them by shard, and looks only at shards that have changed."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass

from superimap.core import metrics
from superimap.db.watching.ownership import ShardUsers
from superimap.idler.balance import Load

log = logging.getLogger(__name__)

MAX_CLOSING_SESSIONS = 500
"""Sessions that are ended at once."""

Start = Callable[[int, int], Coroutine[object, object, None]]
"""Holds the session of a user (id) with credentials of a version, until it is cancelled."""


@dataclass(slots=True)
class RunningSession:
    """Task of a session, and the version of the credentials that it was started with."""

    task: asyncio.Task[None]
    version: int
    is_ending: bool = False

    def end(self) -> None:
        """Cancel it once; a second cancellation would interrupt its LOGOUT."""
        if not self.is_ending:
            self.is_ending = True
            self.task.cancel()


class Supervisor:
    """Runs exactly one session for each wanted user of the owned shards, `max_sessions` at most.

    It calls `ring` when it needs to be called without another cause: a session has ended that is to be replaced.
    """

    def __init__(self, start: Start, *, max_sessions: int, ring: Callable[[], None]) -> None:
        self._start_session = start
        self._max_sessions = max_sessions
        self._ring = ring
        self._wanted: dict[int, dict[int, int]] = {}
        self._digests: dict[int, int] = {}
        self._running: dict[int, dict[int, RunningSession]] = {}
        self._changed: set[int] = set()  # shards in which sessions are to be started or ended
        self._closing: set[int] = set()  # shards in which no session is started now
        self._unserved = 0
        self.sessions = 0
        self.users = 0

    @property
    def digests(self) -> Mapping[int, int]:
        """The digest of the users of each shard, as this idler knows them."""
        return self._digests

    @property
    def loads(self) -> Mapping[int, Load]:
        """The users and the sessions of each shard."""
        return {
            shard: Load(len(users), len(self._running.get(shard, ())))
            for shard, users in self._wanted.items()
        }

    def set_users(self, changed: ShardUsers) -> None:
        """Set the users to watch in some shards."""
        for shard, users in changed.users.items():
            self.users += len(users) - len(self._wanted.get(shard, ()))
            self._wanted[shard] = users
            self._changed.add(shard)
        self._digests.update(changed.digests)

    def forget(self, shards: Iterable[int]) -> None:
        """Watch no user of these shards any more."""
        for shard in shards:
            self.users -= len(self._wanted.pop(shard, ()))
            self._digests.pop(shard, None)
            self._changed.discard(shard)

    def reconcile(self) -> None:
        """Start and end sessions in the shards that have changed."""
        unserved = 0
        for shard in sorted(self._changed - self._closing):
            unserved += self._reconcile_shard(shard)
        metrics.SESSIONS.set(self.sessions)
        metrics.SHARDS_OWNED.set(len(self._wanted))
        self._report_unserved(unserved)

    async def end_shards(self, shards: Iterable[int]) -> None:
        """End every session of these shards, MAX_CLOSING_SESSIONS at a time; after this they write nothing.

        A caller that is cancelled may call this again: sessions count as running until they have ended.
        """
        shards = set(shards)
        ending = [each for shard in shards for each in self._running.get(shard, {}).values()]
        closing = shards - self._closing
        self._closing |= closing
        try:
            for at in range(0, len(ending), MAX_CLOSING_SESSIONS):
                slice_ = ending[at : at + MAX_CLOSING_SESSIONS]
                for each in slice_:
                    each.end()
                await asyncio.wait([each.task for each in slice_])
        finally:
            self._closing -= closing

    async def close(self) -> None:
        """End every session."""
        await self.end_shards(list(self._running))

    def _reconcile_shard(self, shard: int) -> int:
        """Start and end sessions in one shard; return how many of its users have no session for lack of room."""
        wanted = self._wanted[shard]
        running = self._running.setdefault(shard, {})
        for user, session in running.items():
            if wanted.get(user) != session.version:
                session.end()
        missing = [user for user in wanted if user not in running]
        room = max(self._max_sessions - self.sessions, 0)
        for user in missing[:room]:
            self._start(shard, user, wanted[user])
        if len(missing) <= room:
            self._changed.discard(shard)
        if not running:
            del self._running[shard]
        return max(len(missing) - room, 0)

    def _start(self, shard: int, user: int, version: int) -> None:
        task = asyncio.create_task(self._start_session(user, version), name=f"session {user}")
        self._running.setdefault(shard, {})[user] = RunningSession(task, version)
        self.sessions += 1
        task.add_done_callback(lambda _: self._ended(shard, user, task))

    def _ended(self, shard: int, user: int, task: asyncio.Task[None]) -> None:
        """Forget an ended session. One that failed unexpectedly is logged, and the next round starts it again."""
        self.sessions -= 1
        sessions = self._running[shard]
        del sessions[user]
        if not sessions:
            del self._running[shard]
        if shard in self._wanted:
            self._changed.add(shard)
            if task.cancelled():
                self._ring()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("session failed", exc_info=error)

    def _report_unserved(self, unserved: int) -> None:
        if unserved and unserved != self._unserved:
            log.error(
                "users are not watched: MAX_SESSIONS is reached; raise it or add idlers",
                extra={"users": unserved, "max_sessions": self._max_sessions},
            )
        metrics.USERS_UNSERVED.set(unserved)
        self._unserved = unserved
