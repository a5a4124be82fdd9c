"""One idler of the simulation: real rounds, leases, supervision and login pacing; its sessions are only timers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Protocol

from superimap.core.backoff import Backoff
from superimap.core.health import Readiness
from superimap.db.watching import ownership as statements
from superimap.db.watching.ownership import ShardUsers
from superimap.doorbells.postgres import IdlerDoorbell
from superimap.idler import main as idler_main
from superimap.idler import server_pauses
from superimap.idler.limits import LoginLimiter
from superimap.idler.login_pacing import LoginPacing
from superimap.idler.ownership import Ownership
from superimap.idler.supervisor import Supervisor
from superimap.idler.timing import SessionTiming
from superimap.imap.errors import ImapError, Refused
from trials.scale.provider import SimulatedProvider
from trials.simulation.database import ProcessPool

HEARTBEAT_SECONDS, EXPIRY_SECONDS = 10.0, 30.0
TIMING = SessionTiming()


class Watchers(Protocol):
    """Takes note of who watches which user."""

    def provider_of(self, user: int) -> SimulatedProvider: ...
    def begin(self, user: int, idler: int) -> None: ...
    def end(self, user: int, idler: int) -> None: ...


class OrderedSupervisor(Supervisor):
    """A supervisor that starts sessions in the order of users; PostgreSQL returns rows in any order."""

    def set_users(self, changed: ShardUsers) -> None:
        """Set the users to watch in some shards."""
        users = {shard: dict(sorted(users.items())) for shard, users in sorted(changed.users.items())}
        super().set_users(ShardUsers(changed.digests, users))


class SimulatedIdler:
    """An idler. All of it but sessions, presence and the connection of its doorbell is the product's code."""

    def __init__(
        self, pool: ProcessPool, watchers: Watchers, *, capacity: int, logins_per_second: float, at_once: int
    ) -> None:
        self.id = 0
        self.doorbell: IdlerDoorbell | None = None
        self._pool = pool
        self._watchers = watchers
        self._capacity = capacity
        self._rate = logins_per_second
        self._limiter = LoginLimiter(rate=logins_per_second, at_once=at_once)
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Join the cluster, and begin heartbeats and rounds."""
        pool = self._pool.as_pool
        self.id = await statements.join(
            pool, name="simulated", version="0", capacity=self._capacity, health_port=None
        )
        await pool.execute("UPDATE idlers SET presence = id WHERE id = $1", self.id)
        self.doorbell = IdlerDoorbell(self.id)
        self._ownership = Ownership(
            pool, self.id, interval=HEARTBEAT_SECONDS, expiry=EXPIRY_SECONDS, login_rate=self._rate
        )
        self._supervisor = OrderedSupervisor(
            self._hold_session, max_sessions=self._capacity, ring=self.doorbell.ring
        )
        health = Readiness()
        self._loops = [
            asyncio.create_task(each)
            for each in (
                idler_main._renew_lease(self._ownership, self._supervisor, health, HEARTBEAT_SECONDS),
                idler_main._reconcile(
                    self._ownership, self._supervisor, self.doorbell, health, HEARTBEAT_SECONDS
                ),
            )
        ]

    @property
    def users(self) -> int:
        """The users that this idler is to watch."""
        return self._supervisor.users

    @property
    def is_owner(self) -> bool:
        """Whether it owns a shard."""
        return bool(self._ownership.epochs)

    def fault(self) -> BaseException | None:
        """Return what ended a loop of this idler, if anything did."""
        ended = [each for each in self._loops if each.done() and not each.cancelled()]
        return next((each.exception() for each in ended), None)

    async def leave(self) -> None:
        """Hand everything over and leave, as after a SIGTERM."""
        beating, rounds = self._loops
        rounds.cancel()
        await self._ownership.hand_everything_over(
            self._supervisor, within=idler_main.HAND_OVER_SECONDS, longest_close=idler_main.CLOSE_SECONDS
        )
        beating.cancel()
        await self._ownership.leave()

    async def kill(self) -> None:
        """End at once: nothing is handed over, and no statement has an effect any more."""
        self._pool.is_dead = True
        for each in self._loops:
            each.cancel()
        await self._supervisor.close()

    async def _hold_session(self, user: int, _version: int) -> None:
        """Log in and hold a session until cancelled, with the waits that the product makes."""
        backoff = Backoff(first=TIMING.backoff_first, longest=TIMING.backoff_longest)
        pacing, provider = LoginPacing(TIMING), self._watchers.provider_of(user)
        while True:
            pacing.memory.begin()
            try:
                async with self._limiter.slot(provider.name):
                    ended = await provider.log_in()
                pacing.accept()
                await self._watch(user, ended, backoff)
                pause = backoff.next()
            except ImapError as error:
                if isinstance(error, Refused):
                    pacing.memory.submit()
                requested = server_pauses.requested_pause(error, ordinary=TIMING.throttled)
                failed = pacing.failed_pause()
                pause = (backoff.next() if failed is None else failed) + (requested or 0.0)
            await asyncio.sleep(pause)

    async def _watch(self, user: int, ended: asyncio.Event, backoff: Backoff) -> None:
        loop = asyncio.get_running_loop()
        since = loop.time()
        self._watchers.begin(user, self.id)
        try:
            await ended.wait()
        finally:
            self._watchers.end(user, self.id)
        if loop.time() - since >= TIMING.settled:
            backoff.reset()


async def close(idlers: Iterable[SimulatedIdler]) -> None:
    """End all idlers without a hand-over."""
    for idler in idlers:
        with contextlib.suppress(asyncio.CancelledError):
            await idler.kill()
