"""Lanes lose no wake-up and never exceed a limit, however their awaits interleave."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import deque

import pytest

from superimap.core.ids import uuid7
from superimap.db.delivery.deliveries import Claim, Claims, Settlement
from superimap.dispatcher.delivery_sender import FinishedAttempt
from superimap.dispatcher.lanes.limits import LaneLimits
from superimap.dispatcher.lanes.runner import LaneCounts, LaneOperations, Lanes
from superimap.domain.deliveries import AttemptOutcome

MAX_POSTS = 3
UNLIMITED_SECONDS = 1e9


class Table:
    """A table of deliveries of one endpoint and two dispatchers on it, with every await of random length."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.due: deque[uuid.UUID] = deque()
        self.sending = 0
        self.most = 0
        self.sent: list[uuid.UUID] = []
        self.dispatchers: list[Lanes] = []
        self.ringing: set[asyncio.Task[None]] = set()

    async def step(self) -> None:
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)

    async def partner_of(self, _: int) -> int:
        await self.step()
        return 1

    async def claim(
        self, endpoint_id: int, *, limit: int, token: uuid.UUID, include_unhealthy: bool
    ) -> Claims:
        await self.step()
        room = max(0, min(limit, MAX_POSTS - self.sending))
        ids = [self.due.popleft() for _ in range(min(room, len(self.due)))]
        self.sending += len(ids)
        self.most = max(self.most, self.sending)
        await self.step()
        is_all = len(ids) < room
        taken = [Claim(id_, 1, endpoint_id, 1, "new_mail", "http://x", b"", 1, token) for id_ in ids]
        return Claims(taken, is_all=is_all, has_room=is_all)

    async def send(self, claim: Claim) -> FinishedAttempt:
        await self.step()
        self.sent.append(claim.id)
        settlement = Settlement(
            id=uuid7(), claim=claim, outcome=AttemptOutcome.DELIVERED, age=0, milliseconds=0, code=200
        )
        return FinishedAttempt(settlement, None)

    async def settle(self, _: FinishedAttempt) -> None:
        await self.step()
        self.sending -= 1
        await self.step()

    async def ring(self, endpoint_id: int) -> bool:
        """The doorbell reaches either dispatcher, some time later."""

        async def attend() -> None:
            await self.step()
            await self.random.choice(self.dispatchers).run_lane(endpoint_id)

        task = asyncio.create_task(attend())
        self.ringing.add(task)
        task.add_done_callback(self.ringing.discard)
        return True

    def lanes(self, budget: float, counts: LaneCounts) -> Lanes:
        operations = LaneOperations(self.partner_of, self.claim, self.send, self.settle, self.ring)
        limits = LaneLimits(max_lanes=9, posts_per_endpoint=MAX_POSTS, budget_seconds=budget)
        return Lanes(operations, limits, counts)


async def settled(table: Table, counts: list[LaneCounts]) -> None:
    """Wait until nothing is in progress. There is no sweeper here to help."""
    while table.ringing or any(one.lanes or one.in_flight for one in counts):
        await asyncio.sleep(0)


@pytest.mark.parametrize("dispatchers", [1, 2])
@pytest.mark.parametrize("budget", [UNLIMITED_SECONDS, 0.0005])
async def test_every_delivery_that_was_rung_for_is_sent_once_without_a_sweeper(
    dispatchers: int, budget: float
):
    for seed in range(300):
        table, stop = Table(seed), asyncio.Event()
        counts = [LaneCounts() for _ in range(dispatchers)]
        table.dispatchers = [table.lanes(budget, one) for one in counts]
        running = [
            asyncio.create_task(lanes.run(stop, lane_grace=5, post_grace=5)) for lanes in table.dispatchers
        ]
        await asyncio.sleep(0)
        due = []
        for _ in range(table.random.randrange(1, 30)):
            for _ in range(table.random.randrange(1, 4)):
                due.append(uuid.uuid4())
                table.due.append(due[-1])
            await table.ring(1)
            await table.step()

        async with asyncio.timeout(5):
            await settled(table, counts)
        stop.set()
        await asyncio.gather(*running)

        assert sorted(table.sent) == sorted(due), f"seed {seed}"
        assert table.most <= MAX_POSTS, f"seed {seed}"


async def test_at_a_stop_posts_in_flight_end_and_waiting_deliveries_are_rung_for_other_processes():
    for seed in range(100):
        table, stop = Table(seed), asyncio.Event()
        counts = LaneCounts()
        lanes, rung = table.lanes(UNLIMITED_SECONDS, counts), []
        table.dispatchers = [lanes]
        running = asyncio.create_task(lanes.run(stop, lane_grace=5, post_grace=5))
        await asyncio.sleep(0)
        table.due.extend(uuid.uuid4() for _ in range(20))
        attending = asyncio.create_task(lanes.run_lane(1))
        for _ in range(table.random.randrange(20)):
            await asyncio.sleep(0)

        async def ring(endpoint_id: int, rung: list[int] = rung) -> bool:
            rung.append(endpoint_id)
            return True

        object.__setattr__(lanes._operations, "ring", ring)
        stop.set()
        await running
        await attending

        assert (table.sending, counts.in_flight, counts.lanes) == (0, 0, 0)
        assert bool(table.due) <= bool(rung), f"seed {seed}"


async def test_a_doorbell_of_an_endpoint_whose_lane_runs_returns_at_once():
    table, stop = Table(0), asyncio.Event()
    lanes = table.lanes(UNLIMITED_SECONDS, LaneCounts())
    table.dispatchers = [lanes]
    running = asyncio.create_task(lanes.run(stop, lane_grace=5, post_grace=5))
    await asyncio.sleep(0)
    table.due.extend(uuid.uuid4() for _ in range(20))
    first = asyncio.create_task(lanes.run_lane(1))
    await asyncio.sleep(0)

    await lanes.run_lane(1)

    assert not first.done()
    await (
        first
    )  # at a stop it would ring for the rest, and the stopped dispatcher here would ring again, without end
    stop.set()
    await running


async def test_a_lane_that_is_rung_while_its_claim_finds_no_room_claims_again():
    """The dispatcher that had the room may have ended its lane before that ring, which nobody else answers."""
    table, stop, counts = Table(0), asyncio.Event(), LaneCounts()
    asked, answered = asyncio.Event(), asyncio.Event()

    async def late_answer(endpoint_id: int, **_: object) -> Claims:
        object.__setattr__(lanes._operations, "claim", table.claim)
        asked.set()
        await answered.wait()
        return Claims((), is_all=False, has_room=False)

    lanes = table.lanes(UNLIMITED_SECONDS, counts)
    object.__setattr__(lanes._operations, "claim", late_answer)
    running = asyncio.create_task(lanes.run(stop, lane_grace=5, post_grace=5))
    await asyncio.sleep(0)
    first = asyncio.create_task(lanes.run_lane(1))
    await asked.wait()

    table.due.append(uuid.uuid4())
    await lanes.run_lane(1)
    answered.set()
    await first
    await settled(table, [counts])

    assert len(table.sent) == 1
    stop.set()
    await running
