"""The doorbell of an idler: rings of a burst are answered together, a lone ring and a changed cluster at once."""

from __future__ import annotations

import asyncio

import pytest

from superimap.doorbells.postgres import IdlerDoorbell

FAR = 1e9


class Pace:
    """A pace with a fixed pause, which counts the bursts."""

    def __init__(self, pause: float) -> None:
        self.pause = pause
        self.asked = 0

    def next_pause(self, _endpoint: int, _now: float) -> float:
        self.asked += 1
        return self.pause


@pytest.fixture
def doorbell():
    return IdlerDoorbell(7)


def ring(doorbell: IdlerDoorbell, shard: int) -> None:
    doorbell._user_changed(None, 0, "", str(shard))


async def test_users_that_change_during_the_pause_are_read_together(doorbell):
    doorbell._pace = Pace(0.001)
    ring(doorbell, 1)
    waiting = asyncio.create_task(doorbell.wait(FAR))
    await asyncio.sleep(0)
    ring(doorbell, 2)

    assert await waiting == ({1, 2}, False)


async def test_a_lone_ring_and_a_changed_cluster_are_answered_at_once(doorbell):
    ring(doorbell, 1)
    assert await doorbell.wait(FAR) == ({1}, False)
    doorbell._pace = Pace(FAR)
    doorbell._cluster_changed(None, 0, "", "7")

    assert await doorbell.wait(FAR) == (frozenset(), True)
    assert doorbell._pace.asked == 0


async def test_a_round_that_is_due_ends_the_pause(doorbell):
    doorbell._pace = Pace(FAR)
    ring(doorbell, 1)

    shards, is_round = await doorbell.wait(asyncio.get_running_loop().time() + 0.01)

    assert (shards, is_round) == ({1}, True)
