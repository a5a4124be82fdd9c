"""What works through an endpoint's deliveries? A lane: claims what it may POST at once, until nothing is due.

No wake-up is lost. A ring comes after its row was committed. It has a lane look, whose first claim sees the row,
or it marks the lane that looks already as rung. A lane takes that mark away only right before it claims, and ends
for want of work only without the mark, with no await between that look and its end. Across processes: a claim that
finds no room because others fill the endpoint may leave, for whoever took the last of the room keeps its mark and
looks again. What slips through all the same (a process that dies, a seat passed on to who has no use for it any
more) the sweeper finds within a second.

Fairness: places are scarce, and those who hang must not keep them from those who answer.
- A lane whose POSTs keep it waiting steps aside; the next of them to end brings it back.
- An endpoint that did not answer, or has not yet, gets few POSTs, and so does everybody while POSTs are many.
- Of the seats, one partner has a fifth at most, and all who are ailing together a quarter. An endpoint that gets
  none for that reason waits its turn. It has its seat until its last POST has ended, so that the same is true of
  POSTs.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, cast

import asyncpg

from superimap.core import metrics
from superimap.db.delivery.deliveries import Claim, Claims
from superimap.db.postgres import UNAVAILABLE
from superimap.dispatcher.delivery_sender import FinishedAttempt
from superimap.dispatcher.lanes.slots import Slots
from superimap.dispatcher.stats import Stats

log = logging.getLogger(__name__)

PARTNER_SLOTS_DIVISOR = 5
"""A partner has one of so many seats."""

UNHEALTHY_SLOTS_DIVISOR = 4
"""All ailing endpoints together have one of so many seats."""

MAX_UNPROVEN_POSTS = 2
"""POSTs under way to an endpoint that did not answer the last one, or is not known yet: more than one, so that a
single mail takes a single claim."""

LANE_YIELD_SECONDS, CROWDED_LANE_YIELD_SECONDS = 0.25, 0.02
"""Seconds after which a lane steps aside if none of its POSTs ends; the shorter one if others need the place."""

MAX_REMEMBERED_ENDPOINTS = 100_000  # endpoints of which something is remembered

DATABASE_ERRORS = (*UNAVAILABLE, asyncpg.PostgresError)


class Claimer(Protocol):
    """Takes due deliveries: at most `limit`, under `token`."""

    async def __call__(self, endpoint_id: int, *, limit: int, token: uuid.UUID, also_ailing: bool) -> Claims:
        """Claim."""
        ...


@dataclass(frozen=True, slots=True)
class LaneOperations:
    """What lanes work with."""

    partner_of: Callable[[int], Awaitable[int | None]]
    claim: Claimer
    deliver: Callable[[Claim], Awaitable[FinishedAttempt]]
    settle: Callable[[FinishedAttempt], Awaitable[None]]
    ring: Callable[[int], Awaitable[bool]]
    posts_per_endpoint: int
    budget: float


class Lane:
    """The work of one endpoint: a task while there may be something to claim, and the POSTs under way."""

    def __init__(self, endpoint_id: int) -> None:
        self.endpoint_id = endpoint_id
        self.is_rung = True  # something may be due that no claim has looked for
        self.wake = asyncio.Event()  # rung, or a POST has ended
        self.task: asyncio.Task[None] | None = None  # None: it has stepped aside
        self.posts = 0
        self.is_ailing = False  # and has a seat of those


class Lanes:
    """The lanes of this process, at most one per endpoint, and the POSTs that they have under way."""

    def __init__(self, trade: LaneOperations, stats: Stats, *, max_lanes: int) -> None:
        self._trade = trade
        self._stats = stats
        self._max_lanes = max_lanes
        self._most_posts = max_lanes * trade.posts_per_endpoint
        self.share = max(1, max_lanes // PARTNER_SLOTS_DIVISOR)
        self.ailing_share = max(1, max_lanes // UNHEALTHY_SLOTS_DIVISOR)
        self._seats = Slots(share=self.share)
        self._ailing = Slots(share=self.ailing_share)  # as if all of them were one partner's
        self._partners: dict[int, int] = {}
        self._answering: set[int] = set()  # endpoints that gave an answer to their last POST
        self._lanes: dict[int, Lane] = {}
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
        lane = self._lanes.get(endpoint_id)
        was_there = lane is not None and lane.task is not None
        if self._is_stopping or self._group is None:
            await self._trade.ring(endpoint_id)  # another process, or a later one, takes it
        elif (task := self._look(endpoint_id, self._group)) is not None and not was_there:
            await asyncio.wait([task])

    def start(self, endpoint_id: int) -> bool:
        """As `attend` without waiting, for when there are no doorbells; False if all lanes are taken."""
        lane = self._lanes.get(endpoint_id)
        is_full = self._stats.lanes >= self._max_lanes and (lane is None or lane.task is None)
        if self._is_stopping or self._group is None or is_full:
            return False
        self._look(endpoint_id, self._group)
        return True

    def _look(self, endpoint_id: int, group: asyncio.TaskGroup) -> asyncio.Task[None] | None:
        """Ring the lane. None if it stands aside with all the POSTs that it may have: it looks when one ends."""
        lane = self._lanes.get(endpoint_id)
        if lane is None:
            lane = self._lanes[endpoint_id] = Lane(endpoint_id)
        lane.is_rung = True
        lane.wake.set()
        if lane.task is None and (not lane.posts or self._room(lane) > 0):
            self._count(+1)
            lane.task = group.create_task(self._work(lane, group), name=f"lane {endpoint_id}")
        return lane.task

    async def _work(self, lane: Lane, group: asyncio.TaskGroup) -> None:
        is_unfinished = False
        try:
            if await self._sit(lane):
                is_unfinished = await self._run_lane(lane, group)
        except DATABASE_ERRORS as error:  # the sweeper rings again
            log.warning("a lane lost the database: %s", error, extra={"endpoint_id": lane.endpoint_id})
        finally:
            lane.task = None
            self._count(-1)
            self._rise(lane)
        if is_unfinished:
            await self._trade.ring(lane.endpoint_id)

    def _count(self, change: int) -> None:
        self._stats.lanes += change
        metrics.LANES.set(self._stats.lanes)

    async def _sit(self, lane: Lane) -> bool:
        """Whether the lane has a seat; if not, one is kept for when the partner has one to spare."""
        partner = self._partners.get(lane.endpoint_id) or await self._trade.partner_of(lane.endpoint_id)
        if partner is None:  # the endpoint is gone, and its deliveries with it
            return False
        if len(self._partners) >= MAX_REMEMBERED_ENDPOINTS:
            self._partners.clear()
            self._answering.clear()
        self._partners[lane.endpoint_id] = partner
        return self._seats.take(partner, lane.endpoint_id)

    def _rise(self, lane: Lane) -> None:
        """Give the seats up, if nothing of this endpoint is under way any more, to whoever waits for them."""
        if lane.task is not None or lane.posts:
            return
        del self._lanes[lane.endpoint_id]
        for seats in (self._seats, self._ailing):
            self._pass_on(seats, lane)

    def _pass_on(self, seats: Slots, lane: Lane) -> None:
        heir = seats.give_up(lane.endpoint_id)
        if heir is not None and self._group is not None and not self._is_stopping:
            self._look(heir, self._group)

    async def _run_lane(self, lane: Lane, group: asyncio.TaskGroup) -> bool:
        """Claim and post until there is nothing to do, or the budget is spent; whether somebody must go on."""
        clock = asyncio.get_running_loop().time
        end = clock() + self._trade.budget
        while not self._is_stopping and clock() < end:
            lane.wake.clear()
            was_idle = not lane.posts
            has_room = await self._claim(lane, group)
            if lane.is_rung and has_room:
                continue
            # No room, and none of it ours when we looked: others have it all, and they look again.
            if not lane.posts and (was_idle or not lane.is_rung):
                return False
            is_crowded = self._stats.lanes > self._max_lanes // 2
            patience = CROWDED_LANE_YIELD_SECONDS if is_crowded else LANE_YIELD_SECONDS
            if not await _wait(lane.wake, min(patience, end - clock())) and clock() < end:
                return False  # they hang; the next to end looks again
        return lane.is_rung

    async def _claim(self, lane: Lane, group: asyncio.TaskGroup) -> bool:
        """If rung, start as many POSTs as may be under way; whether there is room for more of them."""
        free = self._room(lane)
        if not lane.is_rung or free <= 0:
            return free > 0
        lane.is_rung = False
        claims = await self._trade.claim(
            lane.endpoint_id, limit=free, token=uuid.uuid4(), also_ailing=lane.is_ailing
        )
        if claims.is_held_back:
            lane.is_rung = lane.is_ailing = self._ailing.take(0, lane.endpoint_id)
            return lane.is_ailing
        if lane.is_ailing and claims.is_well:
            lane.is_ailing = False
            self._pass_on(self._ailing, lane)
        for claim in claims.taken:
            self._start_post(lane, claim, group)
        lane.is_rung = lane.is_rung or not claims.is_all
        return claims.has_room

    def _note(self, endpoint_id: int, *, has_answered: bool) -> None:
        if has_answered:
            self._answering.add(endpoint_id)
        else:
            self._answering.discard(endpoint_id)

    def _room(self, lane: Lane) -> int:
        """How many more POSTs this lane may start. Of all POSTs there are a few too many where claims overlap."""
        width = self._trade.posts_per_endpoint
        is_trusted = lane.endpoint_id in self._answering and len(self._posts) < self._most_posts // 2
        if not is_trusted and not lane.is_ailing:
            width = min(width, MAX_UNPROVEN_POSTS)
        return min(width - lane.posts, self._most_posts - len(self._posts))

    def _start_post(self, lane: Lane, claim: Claim, group: asyncio.TaskGroup) -> None:
        lane.posts += 1
        self._stats.in_flight += 1
        metrics.POSTS_IN_FLIGHT.inc()
        task = group.create_task(self._post(lane, claim, group))
        self._posts.add(task)

    async def _post(self, lane: Lane, claim: Claim, group: asyncio.TaskGroup) -> None:
        """Send and record one delivery; a fault leaves it to its lease."""
        try:
            sent = await self._trade.deliver(claim)
            await self._trade.settle(sent)
            self._note(claim.endpoint_id, has_answered=sent.settlement.code is not None)
        except DATABASE_ERRORS as error:
            log.warning("a delivery lost the database: %s", error, extra={"delivery_id": str(claim.id)})
        except Exception:
            log.exception("a delivery failed on our side", extra={"delivery_id": str(claim.id)})
        finally:
            self._posts.discard(
                cast(asyncio.Task[None], asyncio.current_task())
            )  # first: there is room again
            self._stats.in_flight -= 1
            metrics.POSTS_IN_FLIGHT.dec()
            lane.posts -= 1
            is_left_rung = lane.task is None and lane.is_rung
            is_left_rung = is_left_rung and not self.start(claim.endpoint_id)
            self._rise(lane)
        lane.wake.set()
        if is_left_rung:
            await self._trade.ring(claim.endpoint_id)


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Whether it was set within so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    return event.is_set()
