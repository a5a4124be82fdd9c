"""Ownership of shards: the lease of this idler, and the rounds that take, hand over and lose shards."""

import asyncio
import logging
import math
import time
from collections.abc import Iterable

from asyncpg import Pool

from superimap.core import metrics
from superimap.core.errors import SuperImapError
from superimap.db.watching import ownership as cluster
from superimap.db.watching.ownership import ClusterView
from superimap.domain.lost_writes import Heartbeat, lost_writes_since
from superimap.idler import balance
from superimap.idler.balance import Move
from superimap.idler.hand_over import ShardSessions, first_slice, hand_over
from superimap.idler.open_watches import OpenWatches

FORGET_AFTER_EXPIRIES = 10.0
"""Heartbeat expiries after which the row of a silent idler is deleted."""
ROUND_MARGIN_SECONDS = 0.05
"""Time by which a round starts after the moment that it waits for."""
ROUND_PAUSE_PER_IDLER_SECONDS = 0.001
MAX_ROUND_PAUSE_SECONDS = 1.0
SLICE_INTERVAL_SECONDS = 1.0
"""Time between slices, in which the sessions of a slice are established elsewhere."""

log = logging.getLogger(__name__)


class RemovedFromCluster(SuperImapError):
    """The cluster has removed this idler after a long silence; the process must start again."""


class Ownership:
    """The shards that this idler owns, with their epochs. Its heartbeat row is the lease on all of them.

    `pool` serves nothing else: a heartbeat must not queue behind the statements of thousands of sessions.
    `login_rate` is the logins per second at which other idlers establish the sessions of shards they receive.
    """

    def __init__(
        self,
        pool: Pool,
        idler: int,
        *,
        interval: float,
        expiry: float,
        login_rate: float,
        watches: OpenWatches | None = None,
    ) -> None:
        self.is_stopping = False
        self.idler = idler
        self.epochs: dict[int, int] = {}
        self.round_pause = 0.0
        """Least seconds from one round that a doorbell starts to the next.

        A change of the cluster rings all idlers, and each reads the rows of all. So however many they are,
        they do about 1,000 rounds a second together.
        """
        self._pool = pool
        self._interval = interval
        self._expiry = expiry
        self._login_rate = login_rate
        self._reported_shards = 0
        self._watches = watches or OpenWatches()
        self._beat = 0
        self._confirmed = Heartbeat()
        # This process may have started because PostgreSQL is back: the other idlers are about to return as well.
        self._take_over_from = time.monotonic() + interval
        self._renewed_at = time.monotonic()
        metrics.HEARTBEAT_AGE_SECONDS.set_function(lambda: time.monotonic() - self._renewed_at)

    async def renew_lease(self, sessions: ShardSessions) -> None:
        """Renew the lease and report the load. Raises RemovedFromCluster if there is no lease to renew."""
        self._reported_shards = shards = len(self.epochs)
        self._beat += 1
        beat, sent_at = self._beat, asyncio.get_running_loop().time()
        renewed = await cluster.renew_lease(
            self._pool,
            self.idler,
            beat=beat,
            sessions=sessions.sessions,
            users=sessions.users,
            shards=shards,
            is_stopping=self.is_stopping,
            forget_after=FORGET_AFTER_EXPIRIES * self._expiry,
        )
        if renewed is None:
            raise RemovedFromCluster(f"idler {self.idler} is no longer in the cluster")
        self._renewed_at = time.monotonic()
        self._confirm(Heartbeat(beat, sent_at, renewed[1]), previous_number=renewed[0])

    def _confirm(self, heartbeat: Heartbeat, *, previous_number: int) -> None:
        """Take note of a heartbeat; have mailboxes opened again whose writes PostgreSQL may have lost."""
        if heartbeat.number < self._confirmed.number:
            return  # overtaken by a later one
        since = lost_writes_since(
            self._confirmed,
            previous_number=previous_number,
            server_started_at=heartbeat.server_started_at,
        )
        self._confirmed = heartbeat
        if since is not None:
            self._watches.reread_cursors(since)

    def delay_takeovers(self) -> None:
        """Take over nothing for one heartbeat interval.

        PostgreSQL was unreachable, so all heartbeats are late. Other idlers get time to return.
        """
        self._take_over_from = time.monotonic() + self._interval

    async def reconcile(self, sessions: ShardSessions) -> float:
        """Do one round: read the owned shards and their users, take free shards, and hand over surplus shards.

        Return the seconds after which there may be more to do; infinite if nothing is expected.
        """
        view = await self._read_cluster(sessions)
        again = max(view.next_expiry, 0.0) + ROUND_MARGIN_SECONDS
        # An idler that is not among the live members is late. It owns its shards until they are taken.
        is_acting = not self.is_stopping and any(member.id == self.idler for member in view.members)
        if is_acting:
            again = min(again, await self._take_shards(view, sessions))
        sessions.reconcile()
        if is_acting and self.epochs and await self._hand_over_slice(view, sessions):
            again = min(again, SLICE_INTERVAL_SECONDS)
        if len(self.epochs) != self._reported_shards:
            await self.renew_lease(sessions)
        return again

    async def refresh(self, sessions: ShardSessions, shards: Iterable[int]) -> None:
        """Read the users of those of `shards` that are owned."""
        rung = {shard for shard in shards if shard in self.epochs}
        if rung:
            known = {shard: digest for shard in rung if (digest := sessions.digests.get(shard)) is not None}
            sessions.set_users(await cluster.read_changed_users(self._pool, self.idler, rung, known=known))
        sessions.reconcile()

    async def hand_everything_over(
        self, sessions: ShardSessions, *, within: float, longest_close: float
    ) -> None:
        """End all sessions and hand over all shards, in slices, within `within` seconds.

        As long as there is time, this is no faster than other idlers establish the sessions. Ending the sessions
        of a slice takes `longest_close` seconds at most.
        """
        deadline = time.monotonic() + within
        self.is_stopping = True
        await self.renew_lease(sessions)
        while True:
            view = await self._read_cluster(sessions)
            if not self.epochs:
                break
            began = time.monotonic()
            others = sum(not member.is_stopping for member in view.members)
            most = max(1.0, (deadline - began) // longest_close - 1)
            users = max(sessions.users / most, self._login_rate / 2) if others else math.inf
            moves = balance.hand_overs_of_all(self.idler, view.members, sessions.loads)
            slice_ = first_slice(moves, users) if others else list(moves)
            await self._hand_over(slice_, sessions)
            if others and self.epochs:
                slow = sum(move.users for move in slice_) / (self._login_rate * others)
                spare = (deadline - time.monotonic()) / (sessions.users / users + 1) - longest_close
                await asyncio.sleep(max(0.0, min(began + slow - time.monotonic(), spare)))

    async def leave(self) -> None:
        """Leave the cluster, which ends the lease."""
        await cluster.leave(self._pool, self.idler)

    async def _read_cluster(self, sessions: ShardSessions) -> ClusterView:
        """Read the state of the cluster; before anything else, end the sessions of lost shards."""
        view = await cluster.read_cluster(self._pool, self.idler, expiry=self._expiry, known=sessions.digests)
        self.round_pause = min(len(view.members) * ROUND_PAUSE_PER_IDLER_SECONDS, MAX_ROUND_PAUSE_SECONDS)
        lost = {shard for shard, epoch in self.epochs.items() if view.mine.get(shard) != epoch}
        received = len(view.mine.keys() - self.epochs.keys())
        self.epochs = dict(view.mine)
        if lost:
            log.warning("lost shards to another idler", extra={"shards": len(lost)})
            metrics.SHARD_MOVES.labels("lost").inc(len(lost))
            await sessions.end_shards(lost)
            sessions.forget(lost - self.epochs.keys())
        if received:
            metrics.SHARD_MOVES.labels("received").inc(received)
        sessions.set_users(view.changed)
        return view

    async def _take_shards(self, view: ClusterView, sessions: ShardSessions) -> float:
        """Take the free shards that belong here; return the seconds until shards of silent idlers may be taken."""
        patience = self._take_over_from - time.monotonic()
        free = view.free if patience > 0 else view.free | view.expired
        if wanted := balance.shards_to_take(self.idler, view.members, free):
            taken = await cluster.take_shards(self._pool, self.idler, wanted, expiry=self._expiry)
            self.epochs.update(taken)
            metrics.SHARD_MOVES.labels("taken").inc(len(taken))
            log.info("took shards", extra={"shards": len(taken), "owned": len(self.epochs)})
            sessions.set_users(await cluster.read_changed_users(self._pool, self.idler, taken, known={}))
        return max(patience, ROUND_MARGIN_SECONDS) if patience > 0 and view.expired else math.inf

    async def _hand_over_slice(self, view: ClusterView, sessions: ShardSessions) -> bool:
        """Hand over a slice of the shards that belong elsewhere; return whether there was any."""
        others = sum(member.id != self.idler and not member.is_stopping for member in view.members)
        if not others:
            return False
        # All other idlers may send to the same one.
        users = self._login_rate * SLICE_INTERVAL_SECONDS / others
        moves = first_slice(balance.hand_overs(self.idler, view.members, sessions.loads), users)
        return await self._hand_over(moves, sessions) > 0

    async def _hand_over(self, moves: list[Move], sessions: ShardSessions) -> int:
        """Hand over these shards, as far as their receivers have room; return how many have moved."""
        moved = 0
        async for shards in hand_over(
            self._pool, self.idler, moves, sessions, expiry=self._expiry, may_release=self.is_stopping
        ):
            self.epochs = {shard: self.epochs[shard] for shard in self.epochs.keys() - shards}
            sessions.forget(shards)
            moved += len(shards)
        if moved:
            log.info("handed over shards", extra={"shards": moved, "owned": len(self.epochs)})
        return moved
