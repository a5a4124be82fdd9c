"""Does a lane ever lose a wake-up, or send more at once than it may, however its awaits interleave?"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import deque

import pytest

from superimap.core.ids import uuid7
from superimap.db.delivery.deliveries import Claim, Claims, Settlement
from superimap.dispatcher.delivery_sender import FinishedAttempt
from superimap.dispatcher.lanes.runner import LaneOperations, Lanes
from superimap.dispatcher.stats import Stats
from superimap.domain.deliveries import AttemptOutcome

CAP = 3
FOREVER = 1e9


class Table:
    """A table of deliveries of one endpoint and two dispatchers on it, with every await of random length."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.due: deque[uuid.UUID] = deque()
        self.sending = 0
        self.most = 0
        self.sent: list[uuid.UUID] = []
        self.bells: list[Lanes] = []
        self.ringing: set[asyncio.Task[None]] = set()

    async def step(self) -> None:
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)

    async def partner_of(self, _: int) -> int:
        await self.step()
        return 1

    async def claim(self, endpoint_id: int, *, limit: int, token: uuid.UUID, also_ailing: bool) -> Claims:
        await self.step()
        room = max(0, min(limit, CAP - self.sending))
        ids = [self.due.popleft() for _ in range(min(room, len(self.due)))]
        self.sending += len(ids)
        self.most = max(self.most, self.sending)
        await self.step()
        is_all = len(ids) < room
        taken = [Claim(id_, 1, endpoint_id, 1, "new_mail", "http://x", b"", 1, token) for id_ in ids]
        return Claims(taken, is_all=is_all, has_room=is_all)

    async def deliver(self, claim: Claim) -> FinishedAttempt:
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
            await self.random.choice(self.bells).attend(endpoint_id)

        task = asyncio.create_task(attend())
        self.ringing.add(task)
        task.add_done_callback(self.ringing.discard)
        return True

    def trade(self, budget: float) -> LaneOperations:
        return LaneOperations(
            self.partner_of,
            self.claim,
            self.deliver,
            self.settle,
            self.ring,
            posts_per_endpoint=CAP,
            budget=budget,
        )


async def quiet(table: Table, stats: list[Stats]) -> None:
    """Until nothing moves any more: no sweeper is here to help."""
    while table.ringing or any(one.lanes or one.in_flight for one in stats):
        await asyncio.sleep(0)


@pytest.mark.parametrize("dispatchers", [1, 2])
@pytest.mark.parametrize("budget", [FOREVER, 0.0005])
async def test_every_row_that_was_rung_for_is_sent_once_without_a_sweeper(dispatchers: int, budget: float):
    for seed in range(300):
        table, stop = Table(seed), asyncio.Event()
        stats = [Stats() for _ in range(dispatchers)]
        table.bells = [Lanes(table.trade(budget), one, max_lanes=9) for one in stats]
        running = [asyncio.create_task(lanes.run(stop, grace=5, settle_grace=5)) for lanes in table.bells]
        await asyncio.sleep(0)
        owed = []
        for _ in range(table.random.randrange(1, 30)):
            for _ in range(table.random.randrange(1, 4)):
                owed.append(uuid.uuid4())
                table.due.append(owed[-1])
            await table.ring(1)
            await table.step()

        async with asyncio.timeout(5):
            await quiet(table, stats)
        stop.set()
        await asyncio.gather(*running)

        assert sorted(table.sent) == sorted(owed), f"seed {seed}"
        assert table.most <= CAP, f"seed {seed}"


async def test_at_a_stop_what_is_under_way_ends_and_what_waits_is_rung_for_others():
    for seed in range(100):
        table, stop = Table(seed), asyncio.Event()
        stats = Stats()
        lanes, rung = Lanes(table.trade(FOREVER), stats, max_lanes=9), []
        table.bells = [lanes]
        running = asyncio.create_task(lanes.run(stop, grace=5, settle_grace=5))
        await asyncio.sleep(0)
        table.due.extend(uuid.uuid4() for _ in range(20))
        attending = asyncio.create_task(lanes.attend(1))
        for _ in range(table.random.randrange(20)):
            await asyncio.sleep(0)

        async def ring(endpoint_id: int, rung: list[int] = rung) -> bool:
            rung.append(endpoint_id)
            return True

        object.__setattr__(lanes._trade, "ring", ring)
        stop.set()
        await running
        await attending

        assert (table.sending, stats.in_flight, stats.lanes) == (0, 0, 0)
        assert bool(table.due) <= bool(rung), f"seed {seed}"


async def test_a_doorbell_of_an_endpoint_that_is_worked_on_returns_at_once():
    table, stop = Table(0), asyncio.Event()
    lanes = Lanes(table.trade(FOREVER), Stats(), max_lanes=9)
    table.bells = [lanes]
    running = asyncio.create_task(lanes.run(stop, grace=5, settle_grace=5))
    await asyncio.sleep(0)
    table.due.extend(uuid.uuid4() for _ in range(20))
    first = asyncio.create_task(lanes.attend(1))
    await asyncio.sleep(0)

    await lanes.attend(1)

    assert not first.done()
    stop.set()
    await running
    await first
