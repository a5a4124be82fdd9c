"""Which shards are mine? The lease by heartbeat, and the reconciling of what is with what should be."""

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Protocol

from asyncpg import Pool

from superimap.core import metrics
from superimap.core.errors import SuperImapError
from superimap.db.watching import ownership as cluster
from superimap.db.watching.ownership import ClusterView, ShardUsers
from superimap.idler import balance
from superimap.idler.balance import Load, Move

FORGET_AFTER = 10.0  # heartbeat expiries
MOST_SHARDS = 512  # that move at once, however few users they have
LATE = 0.05  # seconds by which a round comes after the moment that it waits for
BETWEEN_SLICES = 1.0  # seconds, in which the sessions of a slice come up elsewhere

log = logging.getLogger(__name__)


class RemovedFromCluster(SuperImapError):
    """The cluster has removed this idler after a long silence; the process must start again."""


class ShardSessions(Protocol):
    """Who holds the sessions of my shards."""

    @property
    def sessions(self) -> int: ...
    @property
    def users(self) -> int: ...
    @property
    def digests(self) -> Mapping[int, int]: ...
    @property
    def loads(self) -> Mapping[int, Load]: ...
    def learn(self, roll: ShardUsers) -> None: ...
    def forget(self, shards: Iterable[int]) -> None: ...
    def tend(self) -> None: ...
    async def end_shards(self, shards: Iterable[int]) -> None: ...


class Ownership:
    """The shards this idler owns, with their epochs. The heartbeat row is the lease on all of them.

    `pool` is for this alone: a heartbeat must not queue behind the statements of thousands of sessions.
    `pace` is the logins per second by which sessions come up where shards move to.
    """

    def __init__(self, pool: Pool, idler: int, *, interval: float, expiry: float, pace: float) -> None:
        self.is_stopping = False
        self.idler = idler
        self.epochs: dict[int, int] = {}
        self._pool = pool
        self._interval = interval
        self._expiry = expiry
        self._pace = pace
        self._told = 0
        # Whoever starts may start because PostgreSQL is back, as the others are about to.
        self._patient_until = time.monotonic() + interval
        self._beaten_at = time.monotonic()
        metrics.HEARTBEAT_AGE_SECONDS.set_function(lambda: time.monotonic() - self._beaten_at)

    async def beat(self, crew: ShardSessions) -> None:
        """Renew the lease, and tell the load. Raises RemovedFromCluster if there is nothing to renew."""
        self._told = shards = len(self.epochs)
        if not await cluster.renew_lease(
            self._pool,
            self.idler,
            sessions=crew.sessions,
            users=crew.users,
            shards=shards,
            is_stopping=self.is_stopping,
            forget_after=FORGET_AFTER * self._expiry,
        ):
            raise RemovedFromCluster(f"idler {self.idler} is no longer in the cluster")
        self._beaten_at = time.monotonic()

    def be_patient(self) -> None:
        """PostgreSQL was away, and every heartbeat with it: let all come back before taking what is theirs."""
        self._patient_until = time.monotonic() + self._interval

    async def reconcile(self, crew: ShardSessions) -> float:
        """Learn what is mine and whom to watch, take what should be mine and is free, hand over what should not.

        Seconds after which there may be more to do; infinite if nothing is known to come.
        """
        view = await self._look(crew)
        again = max(view.next_expiry, 0.0) + LATE
        # If I am not among the living my heartbeat is late: what I own is mine until somebody takes it.
        is_acting = not self.is_stopping and any(member.id == self.idler for member in view.members)
        if is_acting:
            again = min(again, await self._take(view, crew))
        crew.tend()
        if is_acting and self.epochs and await self._move(view, crew):
            again = min(again, BETWEEN_SLICES)
        if len(self.epochs) != self._told:
            await self.beat(crew)
        return again

    async def refresh(self, crew: ShardSessions, shards: Iterable[int]) -> None:
        """Learn whom to watch in those of `shards` that are mine."""
        rung = {shard for shard in shards if shard in self.epochs}
        if rung:
            known = {shard: digest for shard in rung if (digest := crew.digests.get(shard)) is not None}
            crew.learn(await cluster.read_changed_users(self._pool, self.idler, rung, known=known))
        crew.tend()

    async def hand_everything_over(self, crew: ShardSessions, *, within: float, longest_close: float) -> None:
        """Give all shards to others as their sessions end; `within` seconds.

        In slices, no faster than sessions come up elsewhere as long as there is time; ending a slice takes
        `longest_close` seconds at most.
        """
        deadline = time.monotonic() + within
        self.is_stopping = True
        await self.beat(crew)
        while True:
            view = await self._look(crew)
            if not self.epochs:
                break
            began = time.monotonic()
            others = sum(not member.is_stopping for member in view.members)
            most = max(1.0, (deadline - began) // longest_close - 1)
            users = max(crew.users / most, self._pace / 2) if others else math.inf
            slice_ = _slice(balance.leaving(self.idler, view.members, crew.loads), users)
            await self._hand(slice_, crew)
            if others and self.epochs:
                slow = sum(move.users for move in slice_) / (self._pace * others)
                spare = (deadline - time.monotonic()) / (crew.users / users + 1) - longest_close
                await asyncio.sleep(max(0.0, min(began + slow - time.monotonic(), spare)))

    async def leave(self) -> None:
        """Leave the cluster: the lease ends."""
        await cluster.leave(self._pool, self.idler)

    async def _look(self, crew: ShardSessions) -> ClusterView:
        """See the cluster, and part from what is mine no more before anything else."""
        view = await cluster.read_cluster(self._pool, self.idler, expiry=self._expiry, known=crew.digests)
        lost = {shard for shard, epoch in self.epochs.items() if view.mine.get(shard) != epoch}
        received = len(view.mine.keys() - self.epochs.keys())
        self.epochs = dict(view.mine)
        if lost:
            log.warning("lost shards to another idler", extra={"shards": len(lost)})
            metrics.SHARD_MOVES.labels("lost").inc(len(lost))
            await crew.end_shards(lost)
            crew.forget(lost - self.epochs.keys())
        if received:
            metrics.SHARD_MOVES.labels("received").inc(received)
        crew.learn(view.changed)
        return view

    async def _take(self, view: ClusterView, crew: ShardSessions) -> float:
        """Take what should be mine; seconds until silent idlers have had their time to come back."""
        patience = self._patient_until - time.monotonic()
        free = view.free if patience > 0 else view.free | view.expired
        if wanted := balance.takes(self.idler, view.members, free):
            taken = await cluster.take_shards(self._pool, self.idler, wanted, expiry=self._expiry)
            self.epochs.update(taken)
            metrics.SHARD_MOVES.labels("taken").inc(len(taken))
            log.info("took shards", extra={"shards": len(taken), "owned": len(self.epochs)})
            crew.learn(await cluster.read_changed_users(self._pool, self.idler, taken, known={}))
        return max(patience, LATE) if patience > 0 and view.expired else math.inf

    async def _move(self, view: ClusterView, crew: ShardSessions) -> bool:
        """Hand over a slice of what should be others'; whether there was any."""
        others = sum(member.id != self.idler and not member.is_stopping for member in view.members)
        if not others:
            return False
        # All of them may be sending to the same one.
        users = self._pace * BETWEEN_SLICES / others
        return await self._hand(_slice(balance.moves(self.idler, view.members, crew.loads), users), crew) > 0

    async def _hand(self, moves: list[Move], crew: ShardSessions) -> int:
        """End the sessions of these shards, then make others their owners; how many shards went.

        Whom it is promised to has room for it. Where nobody has, it stays, or if I stop, becomes free.
        """
        going: list[tuple[int | None, list[int]]] = []
        for (target, most_users, most_shards), group in groupby(sorted(moves, key=_group), key=_group):
            batch = list(group)
            has_room = target != balance.NOBODY and await cluster.reserve_capacity(
                self._pool,
                target,
                users=sum(move.users for move in batch),
                shards=len(batch),
                max_users=most_users,
                max_shards=most_shards,
                expiry=self._expiry,
            )
            if has_room or self.is_stopping:
                going.append((target if has_room else None, [move.shard for move in batch]))
        await crew.end_shards(shard for _, shards in going for shard in shards)
        for receiver, shards in going:
            if receiver is None:
                await cluster.release_shards(self._pool, self.idler, shards)
            else:
                await cluster.hand_over_shards(self._pool, self.idler, receiver, shards)
            metrics.SHARD_MOVES.labels("returned" if receiver is None else "handed_over").inc(len(shards))
            self.epochs = {shard: epoch for shard, epoch in self.epochs.items() if shard not in set(shards)}
            crew.forget(shards)
        gone = sum(len(shards) for _, shards in going)
        if gone:
            log.info("gave shards away", extra={"shards": gone, "owned": len(self.epochs)})
        return gone


def _group(move: Move) -> tuple[int, int, int]:
    return move.target, move.most_users, move.most_shards


def _slice(moves: Iterable[Move], users: float) -> list[Move]:
    """The first of `moves`, up to so many users and MOST_SHARDS; one at least."""
    found: list[Move] = []
    room = users
    for move in moves:
        if found and (move.users > room or len(found) >= MOST_SHARDS):
            break
        found.append(move)
        room -= move.users
    return found
