"""Absences of processes, as those that look for them record them."""

from superimap.db.presence import Absences


def test_a_process_is_dead_once_it_was_absent_at_every_check_for_as_long_as_its_limit():
    now = 0.0
    absences = Absences(clock=lambda: now)

    assert absences.record({1: 5, 2: 5}) == []
    now = 4.0
    assert absences.record({1: 5}) == []
    now = 6.0
    assert absences.record({1: 5, 2: 5}) == [1]
    now = 10.0
    assert absences.record({2: 5}) == []
    now = 11.5
    assert absences.record({2: 5}) == [2]


def test_each_absence_has_its_own_limit():
    now = 0.0
    absences = Absences(clock=lambda: now)

    assert absences.record({1: 1, 2: 10}) == []
    now = 1.0
    assert absences.record({1: 1, 2: 10}) == [1]
    assert absences.record({1: 1, 2: 0.5}) == [1, 2]
