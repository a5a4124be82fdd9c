"""Absences of dispatchers, as the sweeper records them."""

from superimap.dispatcher.presence import Absences


def test_a_dispatcher_is_dead_once_it_was_absent_at_every_check_for_long_enough():
    now = 0.0
    absences = Absences(limit=5, clock=lambda: now)

    assert absences.record([1, 2]) == []
    now = 4.0
    assert absences.record([1]) == []
    now = 6.0
    assert absences.record([1, 2]) == [1]
    now = 10.0
    assert absences.record([2]) == []
    now = 11.5
    assert absences.record([2]) == [2]
