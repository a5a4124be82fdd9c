"""Which shards are mine? The lease by heartbeat, and the reconciling of what is with what should be."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from asyncpg import Pool

from superimap.db.models.user import SHARDS
from superimap.db.queries import cluster
from superimap.db.queries.cluster import Member, View
from superimap.errors import SuperImapError
from superimap.idler import rendezvous

EndSessions = Callable[[Iterable[int]], Awaitable[None]]

log = logging.getLogger(__name__)


class StruckOff(SuperImapError):
    """The cluster has forgotten this idler, as it does with those long silent; it must start anew."""


class Ownership:
    """The shards this idler owns, with their epochs. The heartbeat row is the lease on all of them."""

    def __init__(self, pool: Pool, idler: int, *, interval: float, expiry: float) -> None:
        self.is_stopping = False
        self.idler = idler
        self.epochs: dict[int, int] = {}
        self._pool = pool
        self._interval = interval
        self._expiry = expiry
        self._planned: tuple[tuple[Member, ...], frozenset[int]] = ((), frozenset())
        self._patient_until = 0.0

    async def beat(self, *, sessions: int, capacity: int) -> None:
        """Renew the lease. Raises StruckOff if there is nothing to renew."""
        is_full = sessions >= capacity
        if not await cluster.beat(
            self._pool, self.idler, sessions=sessions, is_full=is_full, is_stopping=self.is_stopping
        ):
            raise StruckOff(f"idler {self.idler} is no longer in the cluster")

    def be_patient(self) -> None:
        """PostgreSQL was away, and every heartbeat with it: let all come back before taking what looks free."""
        self._patient_until = asyncio.get_running_loop().time() + self._interval

    async def reconcile(self, end_sessions: EndSessions) -> None:
        """Learn what is mine, give up what should be another's, take what should be mine and is free.

        `end_sessions` ends all sessions of some shards; a shard is given back after that, never before.
        """
        view = await cluster.look(self._pool, self.idler, expiry=self._expiry)
        lost = {shard for shard, epoch in self.epochs.items() if view.mine.get(shard) != epoch}
        self.epochs = view.mine
        if lost:
            log.warning("lost shards to another idler", extra={"shards": len(lost)})
            await end_sessions(lost)
        if self.is_stopping:
            return
        if all(member.id != self.idler for member in view.members):
            return  # my own heartbeat is late: what I own is mine until somebody takes it
        should = self._should_own(view)
        surplus = self.epochs.keys() - should
        if surplus:
            await self.release(surplus, end_sessions)
        wanted = should & view.free
        if wanted and asyncio.get_running_loop().time() >= self._patient_until:
            taken = await cluster.take(self._pool, self.idler, wanted, expiry=self._expiry)
            self.epochs.update(taken)
            log.info("took shards", extra={"shards": len(taken), "owned": len(self.epochs)})

    async def release(self, shards: Iterable[int], end_sessions: EndSessions) -> None:
        """End the sessions of `shards`, then give them back."""
        going = [shard for shard in shards if shard in self.epochs]
        await end_sessions(going)
        for shard in going:
            self.epochs.pop(shard, None)
        await cluster.give_back(self._pool, self.idler, going)
        log.debug("gave shards back", extra={"shards": len(going), "owned": len(self.epochs)})

    def _should_own(self, view: View) -> frozenset[int]:
        """My share among the living who are not stopping; hashed anew only when they change."""
        members = tuple(member for member in view.members if not member.is_stopping)
        key = tuple(Member(m.id, m.capacity, False, False) for m in members)
        if self._planned[0] != key:
            self._planned = (key, rendezvous.share(self.idler, key, SHARDS))
        return self._planned[1]
