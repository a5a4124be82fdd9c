"""Which sessions should run, and which do? Every change is compared, and nothing that stays is looked at."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass

from superimap.core import metrics
from superimap.db.watching.ownership import ShardUsers
from superimap.idler.balance import Load

log = logging.getLogger(__name__)

SLICE = 500

Start = Callable[[int, int], Coroutine[object, object, None]]
"""What holds the session of a user (id) with credentials of a version, until it is cancelled."""


@dataclass(slots=True)
class RunningSession:
    """A session's task, and the version that it was started with."""

    task: asyncio.Task[None]
    version: int
    is_ending: bool = False

    def end(self) -> None:
        """Cancel it, once: a second time would cut its LOGOUT short."""
        if not self.is_ending:
            self.is_ending = True
            self.task.cancel()


class Supervisor:
    """Starts and ends sessions so that exactly the wanted users of owned shards are watched, `most` at once.

    `ring` is called when there is something to tend by itself: a session has ended that another shall replace.
    """

    def __init__(self, start: Start, *, most: int, ring: Callable[[], None]) -> None:
        self._start_session = start
        self._most = most
        self._ring = ring
        self._wanted: dict[int, dict[int, int]] = {}
        self._digests: dict[int, int] = {}
        self._running: dict[int, dict[int, RunningSession]] = {}
        self._restless: set[int] = set()  # shards in which something is not as it should be
        self._parting: set[int] = set()  # shards in which nothing is started now
        self._unserved = 0
        self.sessions = 0
        self.users = 0

    @property
    def digests(self) -> Mapping[int, int]:
        """What is known of the users of each shard, as a number."""
        return self._digests

    @property
    def loads(self) -> Mapping[int, Load]:
        """What each shard needs, and has."""
        return {
            shard: Load(len(users), len(self._running.get(shard, ())))
            for shard, users in self._wanted.items()
        }

    def learn(self, roll: ShardUsers) -> None:
        """These are the users to watch in some shards."""
        for shard, users in roll.users.items():
            self.users += len(users) - len(self._wanted.get(shard, ()))
            self._wanted[shard] = users
            self._restless.add(shard)
        self._digests.update(roll.digests)

    def forget(self, shards: Iterable[int]) -> None:
        """Watch nobody in these shards."""
        for shard in shards:
            self.users -= len(self._wanted.pop(shard, ()))
            self._digests.pop(shard, None)
            self._restless.discard(shard)

    def tend(self) -> None:
        """Start and end sessions where something is not as it should be."""
        unserved = 0
        for shard in sorted(self._restless - self._parting):
            unserved += self._tend(shard)
        metrics.SESSIONS.set(self.sessions)
        metrics.SHARDS_OWNED.set(len(self._wanted))
        self._tell_unserved(unserved)

    async def end_shards(self, shards: Iterable[int]) -> None:
        """End every session of these shards, in slices; when this returns they write nothing more.

        Whoever is cancelled in here may call it again: sessions count as running until they have ended.
        """
        shards = set(shards)
        going = [each for shard in shards for each in self._running.get(shard, {}).values()]
        parting = shards - self._parting
        self._parting |= parting
        try:
            for at in range(0, len(going), SLICE):
                slice_ = going[at : at + SLICE]
                for each in slice_:
                    each.end()
                await asyncio.wait([each.task for each in slice_])
        finally:
            self._parting -= parting

    async def close(self) -> None:
        """End every session."""
        await self.end_shards(list(self._running))

    def _tend(self, shard: int) -> int:
        """Do so in one shard; how many of its users have no session for want of room."""
        wanted = self._wanted[shard]
        running = self._running.setdefault(shard, {})
        for user, session in running.items():
            if wanted.get(user) != session.version:
                session.end()
        missing = [user for user in wanted if user not in running]
        room = max(self._most - self.sessions, 0)
        for user in missing[:room]:
            self._start(shard, user, wanted[user])
        if len(missing) <= room:
            self._restless.discard(shard)
        if not running:
            del self._running[shard]
        return max(len(missing) - room, 0)

    def _start(self, shard: int, user: int, version: int) -> None:
        task = asyncio.create_task(self._start_session(user, version), name=f"session {user}")
        self._running.setdefault(shard, {})[user] = RunningSession(task, version)
        self.sessions += 1
        task.add_done_callback(lambda _: self._ended(shard, user, task))

    def _ended(self, shard: int, user: int, task: asyncio.Task[None]) -> None:
        """One that fails in a way nobody foresaw is told of; the next round starts it again."""
        self.sessions -= 1
        sessions = self._running[shard]
        del sessions[user]
        if not sessions:
            del self._running[shard]
        if shard in self._wanted:
            self._restless.add(shard)
            if task.cancelled():
                self._ring()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("session failed", exc_info=error)

    def _tell_unserved(self, unserved: int) -> None:
        if unserved and unserved != self._unserved:
            log.error(
                "users are not watched: MAX_SESSIONS is reached; raise it or add idlers",
                extra={"users": unserved, "max_sessions": self._most},
            )
        metrics.USERS_UNSERVED.set(unserved)
        self._unserved = unserved
