"""Execution of lanes: their tasks, the claims and the POSTs in flight."""

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
from superimap.dispatcher.lanes.admission import Admission
from superimap.dispatcher.lanes.lane import Lane
from superimap.dispatcher.lanes.limits import LaneLimits, NextStep, next_step
from superimap.domain.answers import is_local

log = logging.getLogger(__name__)

DATABASE_ERRORS = (*UNAVAILABLE, asyncpg.PostgresError)


class ClaimDeliveries(Protocol):
    """Takes at most `limit` due deliveries of an endpoint, under `token`."""

    async def __call__(
        self, endpoint_id: int, *, limit: int, token: uuid.UUID, include_unhealthy: bool
    ) -> Claims:
        """Claim. Unless `include_unhealthy`, nothing is taken of an unhealthy endpoint."""
        ...


@dataclass(frozen=True, slots=True)
class LaneOperations:
    """What lanes call: the database, the receiver and the doorbell."""

    partner_of: Callable[[int], Awaitable[int | None]]
    claim: ClaimDeliveries
    send: Callable[[Claim], Awaitable[FinishedAttempt]]
    settle: Callable[[FinishedAttempt], Awaitable[None]]
    ring: Callable[[int], Awaitable[bool]]


@dataclass(slots=True)
class LaneCounts:
    """Lanes that run and POSTs in flight; written by Lanes."""

    lanes: int = 0
    in_flight: int = 0


class Lanes:
    """The lanes of this process, at most one per endpoint, and their POSTs in flight."""

    def __init__(self, operations: LaneOperations, limits: LaneLimits, counts: LaneCounts) -> None:
        self.limits = limits
        self._operations = operations
        self._counts = counts
        self._admission = Admission(operations.partner_of, limits)
        self._lanes: dict[int, Lane] = {}
        self._posts: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._is_stopping = False

    @property
    def is_full(self) -> bool:
        """Whether all the lanes that this process may have are running."""
        return self._counts.lanes >= self.limits.max_lanes

    async def run(self, stop: asyncio.Event, *, lane_grace: float, post_grace: float) -> None:
        """Work until `stop`; then claim no more and let lanes and POSTs end within their grace periods.

        POSTs still in flight after that are cancelled. Their leases expire, and the deliveries are sent again.
        """
        async with asyncio.TaskGroup() as self._group:
            await stop.wait()
            self._is_stopping = True
            for lane in self._lanes.values():
                lane.wake()
            lanes = [lane.task for lane in self._lanes.values() if lane.task is not None]
            if lanes:
                await asyncio.wait(lanes, timeout=lane_grace)
            if self._posts:
                await asyncio.wait(self._posts, timeout=post_grace)
            for task in (*lanes, *self._posts):
                task.cancel()

    async def run_lane(self, endpoint_id: int) -> None:
        """Answer a doorbell: run the endpoint's lane, and return when it ends, or at once if it ran already.

        A worker reads every job in progress at each wake-up, so the jobs of a busy endpoint must not pile up.
        Cancelling this call does not end the lane.
        """
        lane = self._lanes.get(endpoint_id)
        was_running = lane is not None and lane.task is not None
        if self._is_stopping or self._group is None:
            await self._operations.ring(endpoint_id)  # for another process, or the next one
        elif (task := self._ring(endpoint_id, self._group)) is not None and not was_running:
            await asyncio.wait([task])

    def start(self, endpoint_id: int) -> bool:
        """Like `run_lane`, without waiting; for when there are no doorbells. False if all lanes are taken."""
        lane = self._lanes.get(endpoint_id)
        is_full = self._counts.lanes >= self.limits.max_lanes and (lane is None or lane.task is None)
        if self._is_stopping or self._group is None or is_full:
            return False
        self._ring(endpoint_id, self._group)
        return True

    def _ring(self, endpoint_id: int, group: asyncio.TaskGroup) -> asyncio.Task[None] | None:
        """Ring the endpoint's lane, and start it if it does not run.

        None if the lane has yielded with all the POSTs that it may have: it runs again when one of them ends.
        """
        lane = self._lanes.get(endpoint_id)
        if lane is None:
            lane = self._lanes[endpoint_id] = Lane(endpoint_id)
        lane.ring()
        if lane.task is None and (not lane.posts or self._post_room(lane) > 0):
            self._count_lanes(+1)
            lane.started(group.create_task(self._run_lane(lane, group), name=f"lane {endpoint_id}"))
        return lane.task

    async def _run_lane(self, lane: Lane, group: asyncio.TaskGroup) -> None:
        is_unfinished = False
        try:
            if await self._admission.take(lane.endpoint_id):
                is_unfinished = await self._claim_and_post(lane, group)
        except DATABASE_ERRORS as error:  # the sweeper rings again
            log.warning(
                "lane lost its database connection: %s", error, extra={"endpoint_id": lane.endpoint_id}
            )
        finally:
            lane.ended()
            self._count_lanes(-1)
            self._release_slots(lane)
        if is_unfinished:
            await self._operations.ring(lane.endpoint_id)

    async def _claim_and_post(self, lane: Lane, group: asyncio.TaskGroup) -> bool:
        """Claim and POST until nothing is left, the lane yields or its budget is spent.

        Returns whether the doorbell must be rung, so that some lane goes on.
        """
        clock = asyncio.get_running_loop().time
        end = clock() + self.limits.budget_seconds
        while not self._is_stopping and clock() < end:
            lane.clear_wake()
            was_idle = not lane.posts
            has_room = await self._claim(lane, group)
            step = next_step(
                is_rung=lane.is_rung, has_room=has_room, was_idle=was_idle, is_idle=not lane.posts
            )
            if step is NextStep.CLAIM:
                continue
            if step is NextStep.END:
                return False
            seconds = self.limits.yield_seconds(self._counts.lanes)
            if not await lane.wait(min(seconds, end - clock())) and clock() < end:
                return False  # yield: the POSTs in flight hang, and the next of them to end restarts the lane
        return lane.is_rung

    async def _claim(self, lane: Lane, group: asyncio.TaskGroup) -> bool:
        """If the lane is rung, start as many POSTs as it may have; whether a claim could give more now.

        A ring during the claim is of a delivery, or of room, that the claim may not have seen.
        """
        room = self._post_room(lane)
        if not lane.is_rung or room <= 0:
            return room > 0
        lane.remove_mark()
        claims = await self._operations.claim(
            lane.endpoint_id, limit=room, token=uuid.uuid4(), include_unhealthy=lane.has_unhealthy_slot
        )
        if claims.is_held_back:
            is_held = self._admission.take_unhealthy(lane.endpoint_id)
            lane.set_unhealthy_slot(is_held)
            lane.set_mark(is_held)
            return is_held
        if lane.has_unhealthy_slot and claims.is_healthy:
            lane.set_unhealthy_slot(False)
            self._ring_next(self._admission.release_unhealthy(lane.endpoint_id))
        for claim in claims.taken:
            self._start_post(lane, claim, group)
        was_rung = lane.is_rung
        lane.set_mark(was_rung or not claims.is_all)
        return was_rung or claims.has_room

    def _start_post(self, lane: Lane, claim: Claim, group: asyncio.TaskGroup) -> None:
        lane.post_started()
        self._counts.in_flight += 1
        metrics.POSTS_IN_FLIGHT.inc()
        self._posts.add(group.create_task(self._post(lane, claim)))

    async def _post(self, lane: Lane, claim: Claim) -> None:
        """Send and record one delivery. After an internal error its lease expires, and it is sent again."""
        try:
            attempt = await self._operations.send(claim)
            await self._operations.settle(attempt)
            if not is_local(attempt.settlement.error):
                has_answered = attempt.settlement.code is not None
                self._admission.record_answer(claim.endpoint_id, has_answered=has_answered)
        except DATABASE_ERRORS as error:
            log.warning(
                "delivery lost its database connection: %s", error, extra={"delivery_id": str(claim.id)}
            )
        except Exception:
            log.exception(
                "delivery failed because of an internal error", extra={"delivery_id": str(claim.id)}
            )
        finally:
            # First of all: what follows counts the POSTs that are left.
            self._posts.discard(cast(asyncio.Task[None], asyncio.current_task()))
            self._counts.in_flight -= 1
            metrics.POSTS_IN_FLIGHT.dec()
            lane.post_ended()
            is_left_rung = lane.task is None and lane.is_rung
            is_left_rung = is_left_rung and not self.start(claim.endpoint_id)
            self._release_slots(lane)
        lane.wake()
        if is_left_rung:
            await self._operations.ring(claim.endpoint_id)

    def _post_room(self, lane: Lane) -> int:
        return self.limits.post_room(
            lane_posts=lane.posts,
            all_posts=len(self._posts),
            is_answering=self._admission.is_answering(lane.endpoint_id),
            has_unhealthy_slot=lane.has_unhealthy_slot,
        )

    def _release_slots(self, lane: Lane) -> None:
        """Once nothing of this endpoint is in progress, offer its slots to the endpoints that wait for them."""
        if lane.is_unused:
            del self._lanes[lane.endpoint_id]
            self._ring_next(self._admission.release(lane.endpoint_id))
            self._ring_next(self._admission.release_unhealthy(lane.endpoint_id))

    def _ring_next(self, endpoint_id: int | None) -> None:
        if endpoint_id is not None and self._group is not None and not self._is_stopping:
            self._ring(endpoint_id, self._group)

    def _count_lanes(self, change: int) -> None:
        self._counts.lanes += change
        metrics.LANES.set(self._counts.lanes)
