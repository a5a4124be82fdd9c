"""Rounds that doorbells start keep a pause, and every ring is answered by a round that begins after it."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, cast

import pytest

from superimap.core.health import Readiness
from superimap.domain.shards import EVERY_IDLER
from superimap.doorbells.postgres import IdlerDoorbell
from superimap.idler.main import _reconcile
from superimap.idler.ownership import Ownership
from superimap.idler.supervisor import Supervisor
from trials.simulation.clock import SimulatedLoop


class CountedRounds:
    """An ownership that notes when rounds begin."""

    def __init__(self, round_pause: float) -> None:
        self.round_pause = round_pause
        self.began: list[float] = []

    async def reconcile(self, _sessions: object) -> float:
        self.began.append(asyncio.get_running_loop().time())
        return 3600.0


async def rounds_of(rings: list[float], *, round_pause: float) -> list[float]:
    """Return when rounds begin if changes of the cluster ring at these times; no other clock starts one."""
    counted, doorbell = CountedRounds(round_pause), IdlerDoorbell(1)
    nobody = cast(Supervisor, None)
    loop = asyncio.create_task(
        _reconcile(cast(Ownership, counted), nobody, doorbell, Readiness(), interval=3600.0)
    )
    clock = asyncio.get_running_loop()
    for at in rings:
        await asyncio.sleep(at - clock.time())
        doorbell._cluster_changed(None, 0, "", EVERY_IDLER)
    await asyncio.sleep(10)
    loop.cancel()
    return counted.began


def simulated(work: Any) -> Any:
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(work)


@pytest.mark.parametrize("round_pause", [0.0, 0.3, 1.0])
def test_a_lone_ring_is_answered_at_once(round_pause):
    assert simulated(rounds_of([5.0, 8.0], round_pause=round_pause)) == [0.0, 5.0, 8.0]


def test_many_rings_are_answered_together_once_in_a_pause():
    rings = [5.0 + number / 30 for number in range(300)]

    began = simulated(rounds_of(rings, round_pause=1.0))

    assert began[:2] == [0.0, 5.0]
    assert len(began) == 12
    assert min(later - earlier for earlier, later in itertools.pairwise(began)) > 0.999
    assert began[-1] >= rings[-1]
