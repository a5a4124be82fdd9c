"""The cluster of the simulation: idlers on one real database, who watches whom, and counted statements."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from superimap.db.watching import presence
from superimap.domain.shards import SHARD_COUNT, SHARDS_CHANNEL
from superimap.idler.presence import PresenceTiming
from trials.scale.database import CountingDatabase
from trials.scale.member import SimulatedIdler
from trials.scale.provider import SimulatedProvider
from trials.simulation.clock import SimulatedLoop
from trials.simulation.database import ProcessPool

STEP_SECONDS = 0.25


@dataclass
class SimulatedCluster:
    """All idlers that live, and the sessions of all users. A session stands for `weight` mailboxes."""

    database: CountingDatabase
    providers: list[SimulatedProvider]
    users: int
    weight: int
    capacity: int
    logins_per_second: float
    rng: random.Random
    idlers: dict[int, SimulatedIdler] = field(default_factory=dict)
    watched_by: dict[int, int] = field(default_factory=dict)
    watched_twice: int = 0
    ended_at: dict[int, float] = field(default_factory=dict)
    gaps: list[float] = field(default_factory=list)

    def provider_of(self, user: int) -> SimulatedProvider:
        """Return the provider of a user: seven of ten are at the first one."""
        return self.providers[0 if user % 10 < 7 else 1]

    def begin(self, user: int, idler: int) -> None:
        """Note a new session."""
        if user in self.watched_by:
            self.watched_twice += 1
        self.watched_by[user] = idler
        if (ended := self.ended_at.pop(user, None)) is not None:
            self.gaps.append(asyncio.get_running_loop().time() - ended)

    def end(self, user: int, idler: int) -> None:
        """Note the end of a session."""
        if self.watched_by.get(user) == idler:
            del self.watched_by[user]
        self.ended_at[user] = asyncio.get_running_loop().time()

    def ring(self, payload: str) -> None:
        """Ring the doorbells of idlers, as their own connections would."""
        for idler in list(self.idlers.values()):
            if idler.doorbell is not None:
                idler.doorbell._cluster_changed(None, 0, SHARDS_CHANNEL, payload)

    async def join(self, count: int, *, within: float) -> None:
        """Start so many idlers, spread over this time."""
        for _ in range(count):
            pool = ProcessPool(self.database, self.rng, loss=0.0)
            idler = SimulatedIdler(
                pool,
                self,
                capacity=self.capacity,
                logins_per_second=self.logins_per_second,
                at_once=max(2, 50 // self.weight),
            )
            await idler.start()
            self.idlers[idler.id] = idler
            await asyncio.sleep(within / count)

    async def leave(self, idlers: list[int]) -> None:
        """Stop these idlers at once, each as after a SIGTERM."""
        await asyncio.gather(*(self.idlers[each].leave() for each in idlers))
        for each in idlers:
            await self.idlers.pop(each).kill()

    async def kill(self, idlers: list[int]) -> None:
        """Kill these idlers at the same time; those that are left find it as soon as the product would."""
        pool = ProcessPool(self.database, self.rng, loss=0.0)
        for each in idlers:
            await self.idlers.pop(each).kill()
        timing = PresenceTiming()
        await asyncio.sleep(timing.absence + timing.check)
        await presence.mark_absent(pool.as_pool, idlers)

    async def wait_until(self, condition: Callable[[], bool], *, within: float) -> float:
        """Return the seconds until a condition holds. Raises AssertionError if it does not in time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not condition():
            if (
                fault := next(filter(None, (each.fault() for each in self.idlers.values())), None)
            ) is not None:
                raise fault
            assert loop.time() - began < within, f"{self.unwatched} users are not watched after {within:g} s"
            await asyncio.sleep(STEP_SECONDS)
        return loop.time() - began

    @property
    def unwatched(self) -> int:
        """The users without a session."""
        return self.users - len(self.watched_by)

    @property
    def are_all_owned(self) -> bool:
        """Whether living idlers own all shards, as they know it; each shard has one owner in the database."""
        return sum(len(each._ownership.epochs) for each in self.idlers.values()) == SHARD_COUNT

    @property
    def are_all_watched(self) -> bool:
        """Whether each user has a session at a living idler."""
        return not self.unwatched and self.are_all_owned


def loop() -> SimulatedLoop:
    """Return the running simulated loop."""
    running = asyncio.get_running_loop()
    assert isinstance(running, SimulatedLoop)
    return running
