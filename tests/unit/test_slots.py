"""Does each partner keep to its share of the seats, and does everybody's turn come?"""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from superimap.dispatcher.lanes.slots import Slots
from superimap.dispatcher.presence import Absences


def test_beyond_its_share_a_partner_waits_and_others_do_not():
    seats = Slots(share=2)

    assert [seats.take(1, endpoint) for endpoint in (11, 12, 13, 14)] == [True, True, False, False]
    assert seats.take(2, 21)
    assert seats.take(1, 11)
    assert seats.give_up(21) is None
    assert seats.give_up(12) == 13
    assert seats.take(1, 13)
    assert seats.give_up(11) == 14


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.integers(0, 5)), max_size=100))
def test_nobody_has_more_than_the_share_and_nobody_is_forgotten(steps: list[tuple[bool, int, int]]):
    seats, held, waiting = Slots(share=2), {}, set()
    for takes, partner, number in steps:
        endpoint = partner * 10 + number
        if takes:
            if seats.take(partner, endpoint):
                held[endpoint] = partner
                waiting.discard(endpoint)
            else:
                waiting.add(endpoint)
        else:
            left = held.pop(endpoint, None)
            heir = seats.give_up(endpoint)
            has_heir = left is not None and any(one // 10 == left for one in waiting)
            assert (heir is not None) == has_heir
            if heir is not None:
                assert heir in waiting
                waiting.discard(heir)
                if seats.take(partner, heir):
                    held[heir] = partner
        assert all(count <= 2 for count in Counter(held.values()).values())


def test_a_dispatcher_is_gone_once_it_was_absent_at_every_look_for_long_enough():
    now = 0.0
    absences = Absences(patience=5, clock=lambda: now)

    assert absences.seen([1, 2]) == []
    now = 4.0
    assert absences.seen([1]) == []
    now = 6.0
    assert absences.seen([1, 2]) == [1]
    now = 10.0
    assert absences.seen([2]) == []
    now = 11.5
    assert absences.seen([2]) == [2]
