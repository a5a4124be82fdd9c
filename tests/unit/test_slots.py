"""Slots: each group keeps to its share, and every waiting endpoint gets its turn."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from superimap.dispatcher.lanes.slots import Slots


def test_beyond_its_share_a_partner_waits_and_others_do_not():
    slots = Slots(per_group=2)

    assert [slots.take(1, endpoint) for endpoint in (11, 12, 13, 14)] == [True, True, False, False]
    assert slots.take(2, 21)
    assert slots.take(1, 11)
    assert slots.release(21) is None
    assert slots.release(12) == 13
    assert slots.take(1, 13)
    assert slots.release(11) == 14


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.integers(0, 5)), max_size=100))
def test_no_group_exceeds_its_share_and_no_waiting_endpoint_is_forgotten(steps: list[tuple[bool, int, int]]):
    slots, held, waiting = Slots(per_group=2), {}, set()
    for takes, partner, number in steps:
        endpoint = partner * 10 + number
        if takes:
            if slots.take(partner, endpoint):
                held[endpoint] = partner
                waiting.discard(endpoint)
            else:
                waiting.add(endpoint)
        else:
            left = held.pop(endpoint, None)
            following = slots.release(endpoint)
            has_following = left is not None and any(one // 10 == left for one in waiting)
            assert (following is not None) == has_following
            if following is not None:
                assert following in waiting
                waiting.discard(following)
                if slots.take(partner, following):
                    held[following] = partner
        assert all(count <= 2 for count in Counter(held.values()).values())
