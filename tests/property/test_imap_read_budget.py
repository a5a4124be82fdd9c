"""Read budget: the share of the event loop's time that one peer gets."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from superimap.imap.read_budget import MAX_READ_BYTES, LoopShare, charge_read, must_pause

costs = st.floats(1e-10, 1e-5)  # seconds per byte
gaps = st.lists(st.floats(0, 0.01), min_size=200, max_size=200)  # seconds until the peer sends more


def flood(cost: float, gaps: list[float]) -> tuple[list[float], list[int], float]:
    """Simulate a peer that always sends more: seconds that each read held the loop, read sizes, total seconds."""
    now, paused_until, size, held, sizes = 1000.0, 0.0, MAX_READ_BYTES, [], []
    for gap in gaps:
        began = now
        now += size * cost
        held.append(size * cost)
        sizes.append(size)
        paused_until, size = charge_read(paused_until, size, received=size, began=began, now=now)
        now = max(now + gap, paused_until if must_pause(paused_until, now) else now)
    return held, sizes, now - 1000.0


@given(costs, gaps)
def test_a_flood_gets_a_tenth_of_the_time_plus_one_burst(cost, gaps):
    held, _, elapsed = flood(cost, gaps)

    # Reads may be long until the read size has adapted: eight halvings at most.
    known = [each for each in held if each <= 0.01]
    assert sum(known) <= elapsed * 0.1 + 0.0025 + max(held)


@given(costs, gaps)
def test_reads_that_occupy_the_event_loop_too_long_become_smaller(cost, gaps):
    held, sizes, _ = flood(cost, gaps)

    assert all(1024 <= size <= MAX_READ_BYTES for size in sizes)
    assert all(each <= 0.0005 or size == 1024 for each, size in zip(held[8:], sizes[8:], strict=True))


@given(st.floats(0, 3600))
def test_no_pause_exceeds_a_tenth_of_a_second(took):
    """The process may have been stopped in the middle of a read."""
    paused_until, _ = charge_read(0.0, MAX_READ_BYTES, received=MAX_READ_BYTES, began=5.0, now=5.0 + took)

    assert paused_until <= 5.0 + took + 0.1


def test_a_peer_that_sends_little_is_never_paused():
    """A wake-up takes three reads of about 0.05 ms; ten wake-ups per second are no flood."""
    paused_until, size = 0.0, MAX_READ_BYTES
    for number in range(1000):
        began = number / 30
        paused_until, size = charge_read(paused_until, size, received=100, began=began, now=began + 0.00005)
        assert not must_pause(paused_until, began + 0.00005)
    assert size == MAX_READ_BYTES


def test_the_effect_of_a_single_long_read_ends():
    paused_until, size = charge_read(0.0, MAX_READ_BYTES, received=MAX_READ_BYTES, began=0.0, now=0.02)
    assert size == MAX_READ_BYTES // 2
    assert must_pause(paused_until, 0.02)

    paused_until, size = charge_read(paused_until, size, received=size, began=1.0, now=1.00002)
    assert size == MAX_READ_BYTES
    assert not must_pause(paused_until, 1.00002)


def test_short_reads_do_not_enlarge_the_next_one():
    """A server greets and answers in few bytes before it floods."""
    paused_until, size = 0.0, 2048
    for number in range(10):
        paused_until, size = charge_read(paused_until, size, received=100, began=number, now=number + 0.00001)
    assert size == 2048

    assert charge_read(paused_until, size, received=size, began=99.0, now=99.00001)[1] == 4096


def serve(share: LoopShare, connections: int, cost: float, seconds: float) -> tuple[list[int], float]:
    """Simulate connections of one group that always have something to read: reads of each, seconds in all."""
    turns, reads, now, used = [0.0] * connections, [0] * connections, 0.0, 0.0
    while now < seconds:
        number = min(range(connections), key=turns.__getitem__)
        now = max(now, turns[number])
        reads[number] += 1
        used += cost
        share.charge(began=now, now=now + cost)
        now += cost
        turns[number] = share.take_turn(now)
    return reads, used


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 20), st.floats(5e-5, 0.0005), st.sampled_from([0.1, 0.2, 0.4]))
def test_a_group_of_floods_gets_its_share_and_none_of_its_connections_starves(connections, cost, part):
    reads, used = serve(LoopShare(part), connections, cost, seconds=0.5)

    assert used <= 0.5 * part + connections * cost + 0.005
    assert min(reads) >= 2


def test_only_floods_are_charged_to_a_share_for_floods():
    share = LoopShare(0.5, is_for_floods=True)
    for number in range(1000):
        share.charge(began=number / 1000, now=(number + 1) / 1000)
    assert not share.is_in_debt(1.0)

    share.charge(began=1.0, now=1.01, is_flood=True)
    assert share.is_in_debt(1.01)
