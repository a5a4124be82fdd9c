"""Limits on bytes in memory and on logins: never exceeded, first come first served, without leaks."""

import asyncio
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from superimap.idler import limits
from superimap.idler.limits import ByteLimit, ByteLimits, LoginLimiter
from trials.simulation.clock import SimulatedLoop


async def test_a_mail_that_does_not_fit_waits_for_room():
    limit = ByteLimit(100)
    held = await limit.acquire(80)
    waiting = asyncio.create_task(limit.acquire(30))
    await asyncio.sleep(0)
    assert not waiting.done()

    limit.release(held)

    assert await waiting == 30


async def test_a_small_mail_does_not_overtake_a_big_one():
    limit = ByteLimit(100)
    held = await limit.acquire(80)
    big = asyncio.create_task(limit.acquire(90))
    await asyncio.sleep(0)

    assert not limit.has_room(10)
    limit.release(held)
    assert await big == 90


async def test_a_mail_larger_than_the_limit_is_admitted_alone():
    limit = ByteLimit(100)

    assert await limit.acquire(1000) == 100
    assert not limit.has_room(1)


async def test_one_unresponsive_host_takes_at_most_half_and_so_do_all_named_servers():
    limits = ByteLimits(100)
    unresponsive, other = limits.for_host("unresponsive"), limits.for_host("other")
    held = await unresponsive.acquire(1000)
    waiting = asyncio.create_task(unresponsive.acquire(1))
    await asyncio.sleep(0)

    assert not waiting.done()
    assert other.has_room(50)
    unresponsive.release(held)
    assert await waiting == 1

    assert await limits.for_host("a", is_named=True).acquire(30) == 30
    assert not limits.for_host("b", is_named=True).has_room(30)
    assert other.has_room(50)


async def test_a_waiter_cancelled_at_the_second_limit_releases_the_first():
    limits = ByteLimits(100)
    hosts = [limits.for_host(name) for name in ("a", "b", "c")]
    held = [await host.acquire(50) for host in hosts[:2]]
    waiting = asyncio.create_task(hosts[2].acquire(50))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    for host, size in zip(hosts, held, strict=False):
        host.release(size)

    assert hosts[2].has_room(50)


@given(st.lists(st.tuples(st.integers(1, 150), st.booleans()), max_size=30))
def test_all_room_is_released_whether_cancelled_or_not(entries: list[tuple[int, bool]]):
    async def run() -> None:
        limit = ByteLimit(100)
        tasks = [asyncio.create_task(_pass(limit, size)) for size, _ in entries]
        await asyncio.sleep(0)
        for task, (_, cancelled) in zip(tasks, entries, strict=True):
            if cancelled:
                task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ends)
        assert limit.has_room(100)

    asyncio.run(run())


async def _pass(limit: ByteLimit, size: int) -> None:
    held = await limit.acquire(size)
    try:
        await asyncio.sleep(0)
    finally:
        limit.release(held)


async def test_logins_to_one_host_are_spread_by_its_rate_and_other_hosts_do_not_wait():
    loop = asyncio.get_running_loop()
    limit = LoginLimiter(rate=100, at_once=1000, chance=lambda: 0.5)
    begun: dict[str, list[float]] = {"a": [], "b": []}

    async def log_in(host: str) -> None:
        async with limit.slot(host):
            begun[host].append(loop.time())

    start = loop.time()
    await asyncio.gather(*(log_in("a") for _ in range(20)), log_in("b"))

    # Never earlier than its moment; how much later is the machine's affair.
    assert all(moment - start >= number / 100 for number, moment in enumerate(sorted(begun["a"])))
    assert begun["b"][0] < max(begun["a"])


async def test_a_provider_can_have_its_own_login_rate():
    loop = asyncio.get_running_loop()
    limit = LoginLimiter(rate=10_000, at_once=10, chance=lambda: 0.5)
    start = loop.time()
    for _ in range(3):
        async with limit.slot("a", 20.0):
            pass

    assert loop.time() - start >= 2 / 20


async def test_an_unresponsive_host_leaves_login_slots_to_others():
    limit = LoginLimiter(rate=1e6, at_once=4)
    stuck = asyncio.Event()

    async def hang() -> None:
        async with limit.slot("stuck"):
            await stuck.wait()

    hanging = [asyncio.create_task(hang()) for _ in range(50)]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5), limit.slot("alive"):
        pass
    stuck.set()
    await asyncio.gather(*hanging)


async def test_any_number_of_unresponsive_named_servers_leaves_login_slots_to_others():
    limit = LoginLimiter(rate=1e6, at_once=4)
    stuck = asyncio.Event()

    async def hang(host: str) -> None:
        async with limit.slot(host, is_named=True):
            await stuck.wait()

    hanging = [asyncio.create_task(hang(f"host{number}")) for number in range(20)]
    await asyncio.sleep(0)

    async with asyncio.timeout(5), limit.slot("good"), limit.slot("better"):
        pass

    stuck.set()
    await asyncio.gather(*hanging)


async def test_a_cancelled_waiter_takes_no_login_slot():
    limit = LoginLimiter(rate=1e6, at_once=2)
    async with limit.slot("a"):
        waiting = [asyncio.create_task(limit.slot("a").__aenter__()) for _ in range(5)]
        await asyncio.sleep(0.02)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async with asyncio.timeout(5), limit.slot("a"):
        pass


def test_logins_that_are_cancelled_while_they_wait_leave_their_turns_to_others():
    async def first_after_a_cancelled_crowd() -> float:
        limit, loop = LoginLimiter(rate=1.0, at_once=10), asyncio.get_running_loop()
        crowd = [asyncio.create_task(limit.slot("a").__aenter__()) for _ in range(100)]
        await asyncio.sleep(0.1)
        late = asyncio.create_task(limit.slot("a").__aenter__())
        for task in crowd:
            task.cancel()
        await late
        return loop.time()

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        assert runner.run(first_after_a_cancelled_crowd()) <= 1.5


def test_turns_follow_each_other_by_the_rate_with_jitter_of_a_half():
    async def turns() -> list[float]:
        limit, loop, begun = LoginLimiter(rate=100.0, at_once=1000), asyncio.get_running_loop(), []

        async def log_in() -> None:
            async with limit.slot("a"):
                begun.append(loop.time())

        await asyncio.gather(*(log_in() for _ in range(500)))
        await asyncio.sleep(60)
        await asyncio.gather(*(log_in() for _ in range(500)))
        return begun

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        begun = runner.run(turns())
    pauses = [later - earlier for earlier, later in pairwise(begun)]

    assert (begun[0], len(begun)) == (0.0, 1000)
    assert pauses.pop(499) > 50  # a time without logins is no credit
    assert 0.00499 < min(pauses) < 0.007 < 0.013 < max(pauses) < 0.01501


async def test_hosts_that_nobody_logs_in_to_are_forgotten(monkeypatch):
    monkeypatch.setattr(limits, "MIN_PRUNED_HOSTS", 10)
    limit = LoginLimiter(rate=1e6, at_once=50, chance=lambda: 0.5)
    async with limit.slot("held"), limit.slot("slow", rate=0.001):
        for number in range(1000):
            async with limit.slot(f"{number}.example"):
                pass
        known = limit.hosts
        await asyncio.sleep(0)

    assert {"held", "slow"} <= known
    assert len(known) <= 10
    async with limit.slot("next.example"):
        assert len(limit.hosts) <= 10
