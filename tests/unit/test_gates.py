"""Bytes in flight: never more than the gate holds, first come first served, nothing leaks."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from superimap.idler.gates import ByteGate


async def test_who_does_not_fit_waits_until_there_is_room():
    gate = ByteGate(100)
    held = await gate.enter(80)
    waiting = asyncio.create_task(gate.enter(30))
    await asyncio.sleep(0)
    assert not waiting.done()

    gate.leave(held)

    assert await waiting == 30


async def test_a_small_one_does_not_overtake_a_big_one():
    gate = ByteGate(100)
    held = await gate.enter(80)
    big = asyncio.create_task(gate.enter(90))
    await asyncio.sleep(0)

    assert not gate.has_room(10)
    gate.leave(held)
    assert await big == 90


async def test_one_larger_than_the_gate_passes_alone():
    gate = ByteGate(100)

    assert await gate.enter(1000) == 100
    assert not gate.has_room(1)


@given(st.lists(st.tuples(st.integers(1, 150), st.booleans()), max_size=30))
def test_cancelled_or_not_all_room_comes_back(entries: list[tuple[int, bool]]):
    async def run() -> None:
        gate = ByteGate(100)
        tasks = [asyncio.create_task(_pass(gate, size)) for size, _ in entries]
        await asyncio.sleep(0)
        for task, (_, cancelled) in zip(tasks, entries, strict=True):
            if cancelled:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert gate.has_room(100)

    asyncio.run(run())


async def _pass(gate: ByteGate, size: int) -> None:
    held = await gate.enter(size)
    try:
        await asyncio.sleep(0)
    finally:
        gate.leave(held)
