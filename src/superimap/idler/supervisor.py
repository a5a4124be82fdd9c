"""Which sessions should run, and which do? Compared on every ring and every round."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from superimap import metrics
from superimap.db.queries import watching
from superimap.db.queries.watching import Wanted
from superimap.idler.context import Context
from superimap.idler.session import Session

log = logging.getLogger(__name__)

SLICE = 200


@dataclass(frozen=True, slots=True)
class Running:
    """A session's task, and what it was started for."""

    task: asyncio.Task[None]
    shard: int
    epoch: int
    version: int


class Supervisor:
    """Starts and ends sessions so that exactly the wanted users of owned shards are watched."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._running: dict[int, Running] = {}
        self._unserved = 0

    @property
    def sessions(self) -> int:
        """Sessions held, whatever they are doing."""
        return len(self._running)

    async def reconcile(self, shards: Iterable[int] | None = None) -> None:
        """Make the sessions of these shards (all owned ones if None) what they should be."""
        owned = self._context.ownership.epochs
        looked_at = set(owned) if shards is None else {shard for shard in shards if shard in owned}
        wanted = {each.user_id: each for each in await watching.wanted(self._context.pool, looked_at)}
        stale = [
            user_id
            for user_id, running in self._running.items()
            if (running.shard in looked_at or shards is None)
            and not self._is_right(running, wanted.get(user_id))
        ]
        await self._end(stale)
        missing = [each for user_id, each in wanted.items() if user_id not in self._running]
        room = self._context.settings.max_sessions - len(self._running)
        for each in missing[: max(room, 0)]:
            self._start(each)
        metrics.SESSIONS.set(len(self._running))
        metrics.SHARDS.set(len(owned))
        if shards is None:
            self._tell_unserved(len(missing) - max(room, 0))

    async def end_shards(self, shards: Iterable[int]) -> None:
        """End every session of these shards, in slices; when this returns they write nothing more."""
        going = set(shards)
        await self._end([user_id for user_id, running in self._running.items() if running.shard in going])

    def _is_right(self, running: Running, wanted: Wanted | None) -> bool:
        return (
            wanted is not None
            and not running.task.done()
            and running.version == wanted.version
            and running.epoch == self._context.ownership.epochs.get(running.shard)
        )

    def _start(self, wanted: Wanted) -> None:
        epoch = self._context.ownership.epochs.get(wanted.shard)
        if epoch is None:
            return
        session = Session(self._context, wanted.user_id, wanted.version)
        task = asyncio.create_task(session.run(), name=f"session {wanted.user_id}")
        task.add_done_callback(self._ended)
        self._running[wanted.user_id] = Running(task, wanted.shard, epoch, wanted.version)

    async def _end(self, users: list[int]) -> None:
        for start in range(0, len(users), SLICE):
            tasks = [self._running.pop(user_id).task for user_id in users[start : start + SLICE]]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A session that fails in a way nobody foresaw is told of; the next round starts it again."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("session failed", exc_info=error)

    def _tell_unserved(self, unserved: int) -> None:
        unserved = max(unserved, 0)
        if unserved and unserved != self._unserved:
            log.error(
                "users are not watched: MAX_SESSIONS is reached; raise it or add idlers",
                extra={"users": unserved, "max_sessions": self._context.settings.max_sessions},
            )
        metrics.UNSERVED.set(unserved)
        self._unserved = unserved
