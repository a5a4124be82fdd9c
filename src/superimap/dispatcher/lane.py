"""What works through an endpoint's deliveries? A lane: claims what it may POST at once, until nothing is due.

No wake-up is lost. A ring comes after its row was committed. It starts a lane, whose first claim sees the row, or
it marks the lane that runs as rung. A lane takes that mark away only right before it claims, and ends for want of
work only without the mark, with no await between that look and its removal. Across processes: a claim that finds
no room because others fill the endpoint may leave, for whoever took the last of the room keeps its mark and looks
again. What slips through all the same (a process that dies) the sweeper finds within a second.

Fairness: of the seats, which are the lanes of this process, one partner has a fifth at most. An endpoint that gets
none for that reason waits its turn behind the partner's others. It has its seat until its last POST has ended, so
that a fifth of all POSTs is the partner's most, too.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import asyncpg

from superimap import metrics
from superimap.db.engine import UNAVAILABLE
from superimap.db.queries.deliveries import Claim, Claims
from superimap.dispatcher.deliver import Sent
from superimap.dispatcher.seats import Seats
from superimap.dispatcher.stats import Stats

log = logging.getLogger(__name__)

FAIR = 5
"""A partner has one of so many seats."""

MOST_KNOWN = 100_000  # endpoints whose partner is remembered

FAULTS = (*UNAVAILABLE, asyncpg.PostgresError)


class Claimer(Protocol):
    """Takes due deliveries: at most `limit`, under `token`."""

    async def __call__(self, endpoint_id: int, *, limit: int, token: uuid.UUID) -> Claims:
        """Claim."""
        ...


@dataclass(frozen=True, slots=True)
class Trade:
    """What lanes work with."""

    partner_of: Callable[[int], Awaitable[int | None]]
    claim: Claimer
    deliver: Callable[[Claim], Awaitable[Sent]]
    settle: Callable[[Sent], Awaitable[None]]
    ring: Callable[[int], Awaitable[bool]]
    posts_per_endpoint: int
    budget: float


class Lane:
    """The work of one endpoint, for one budget at most."""

    def __init__(self, endpoint_id: int) -> None:
        self.endpoint_id = endpoint_id
        self.is_rung = True  # something may be due that no claim has looked for
        self.wake = asyncio.Event()  # rung, or a POST has ended
        self.task: asyncio.Task[None] | None = None


class Lanes:
    """The lanes of this process, at most one per endpoint, and the POSTs that they have under way."""

    def __init__(self, trade: Trade, stats: Stats, *, max_lanes: int) -> None:
        self._trade = trade
        self._stats = stats
        self._max_lanes = max_lanes
        self.share = max(1, max_lanes // FAIR)
        self._seats = Seats(share=self.share)
        self._partners: dict[int, int] = {}
        self._lanes: dict[int, Lane] = {}
        self._under_way: Counter[int] = Counter()
        self._posts: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._is_stopping = False

    async def run(self, stop: asyncio.Event, *, grace: float, settle_grace: float) -> None:
        """Work until `stop`; then claim no more, let POSTs end within `grace`, and cut the rest.

        A POST that is cut falls to its lease: others send it again.
        """
        async with asyncio.TaskGroup() as self._group:
            await stop.wait()
            self._is_stopping = True
            for lane in self._lanes.values():
                lane.wake.set()
            lanes = [lane.task for lane in self._lanes.values() if lane.task is not None]
            if lanes:
                await asyncio.wait(lanes, timeout=settle_grace)
            if self._posts:
                await asyncio.wait(self._posts, timeout=grace)
            for task in (*lanes, *self._posts):
                task.cancel()

    async def attend(self, endpoint_id: int) -> None:
        """A doorbell: have a lane look, and return when it ends, or at once if it was there already.

        arq looks at every job under way 20 times a second: those of a busy endpoint must not pile up.
        Cancelling this does not end the lane.
        """
        was_there = endpoint_id in self._lanes
        if self._is_stopping or self._group is None:
            await self._trade.ring(endpoint_id)  # another process, or a later one, takes it
        elif (task := self._look(endpoint_id, self._group).task) is not None and not was_there:
            await asyncio.wait([task])

    def start(self, endpoint_id: int) -> bool:
        """As `attend` without waiting, for when there are no doorbells; False if all lanes are taken."""
        is_full = len(self._lanes) >= self._max_lanes and endpoint_id not in self._lanes
        if self._is_stopping or self._group is None or is_full:
            return False
        self._look(endpoint_id, self._group)
        return True

    def _look(self, endpoint_id: int, group: asyncio.TaskGroup) -> Lane:
        lane = self._lanes.get(endpoint_id)
        if lane is None:
            lane = self._lanes[endpoint_id] = Lane(endpoint_id)
            self._stats.lanes = len(self._lanes)
            metrics.LANES.set(len(self._lanes))
            lane.task = group.create_task(self._work(lane, group), name=f"lane {endpoint_id}")
        lane.is_rung = True
        lane.wake.set()
        return lane

    async def _work(self, lane: Lane, group: asyncio.TaskGroup) -> None:
        is_unfinished = False
        try:
            if await self._sit(lane):
                is_unfinished = await self._run_lane(lane, group)
        except FAULTS as error:  # the sweeper rings again
            log.warning("a lane lost the database: %s", error, extra={"endpoint_id": lane.endpoint_id})
        finally:
            del self._lanes[lane.endpoint_id]
            self._stats.lanes = len(self._lanes)
            metrics.LANES.set(len(self._lanes))
            self._rise(lane.endpoint_id)
        if is_unfinished:
            await self._trade.ring(lane.endpoint_id)

    async def _sit(self, lane: Lane) -> bool:
        """Whether the lane has a seat; if not, one is kept for when the partner has one to spare."""
        partner = self._partners.get(lane.endpoint_id) or await self._trade.partner_of(lane.endpoint_id)
        if partner is None:  # the endpoint is gone, and its deliveries with it
            return False
        if len(self._partners) >= MOST_KNOWN:
            self._partners.clear()
        self._partners[lane.endpoint_id] = partner
        return self._seats.take(partner, lane.endpoint_id)

    def _rise(self, endpoint_id: int) -> None:
        """Give the seat up, if nothing of this endpoint is under way any more, to the partner's next."""
        if endpoint_id in self._lanes or self._under_way[endpoint_id]:
            return
        heir = self._seats.give_up(endpoint_id)
        if heir is not None and self._group is not None and not self._is_stopping:
            self._look(heir, self._group)

    async def _run_lane(self, lane: Lane, group: asyncio.TaskGroup) -> bool:
        """Claim and post until there is nothing to do, or the budget is spent; whether somebody must go on."""
        clock = asyncio.get_running_loop().time
        end = clock() + self._trade.budget
        while not self._is_stopping and clock() < end:
            lane.wake.clear()
            was_idle = not self._under_way[lane.endpoint_id]
            has_room = await self._claim(lane, group)
            if lane.is_rung and has_room:
                continue
            # No room, and none of it ours when we looked: others have it all, and they look again.
            if not self._under_way[lane.endpoint_id] and (was_idle or not lane.is_rung):
                return False
            await _wait(lane.wake, end - clock())
        return lane.is_rung

    async def _claim(self, lane: Lane, group: asyncio.TaskGroup) -> bool:
        """If rung, start as many POSTs as may be under way; whether there is room for more of them."""
        free = self._trade.posts_per_endpoint - self._under_way[lane.endpoint_id]
        if not lane.is_rung or free <= 0:
            return free > 0
        lane.is_rung = False
        claims = await self._trade.claim(lane.endpoint_id, limit=free, token=uuid.uuid4())
        for claim in claims.taken:
            self._start_post(claim, group)
        lane.is_rung = lane.is_rung or not claims.is_all
        return claims.has_room

    def _start_post(self, claim: Claim, group: asyncio.TaskGroup) -> None:
        self._under_way[claim.endpoint_id] += 1
        self._stats.in_flight += 1
        metrics.POSTS.inc()
        task = group.create_task(self._post(claim))
        self._posts.add(task)
        task.add_done_callback(self._posts.discard)

    async def _post(self, claim: Claim) -> None:
        """Send and record one delivery; a fault leaves it to its lease."""
        try:
            await self._trade.settle(await self._trade.deliver(claim))
        except FAULTS as error:
            log.warning("a delivery lost the database: %s", error, extra={"delivery_id": str(claim.id)})
        except Exception:
            log.exception("a delivery failed on our side", extra={"delivery_id": str(claim.id)})
        finally:
            self._stats.in_flight -= 1
            metrics.POSTS.dec()
            self._under_way[claim.endpoint_id] -= 1
            if not self._under_way[claim.endpoint_id]:
                del self._under_way[claim.endpoint_id]
            self._rise(claim.endpoint_id)
        lane = self._lanes.get(claim.endpoint_id)
        if lane is not None:
            lane.wake.set()
        else:  # it outlived its lane, and others may have found no room because of it
            await self._trade.ring(claim.endpoint_id)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
