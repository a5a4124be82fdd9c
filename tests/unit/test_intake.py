"""Bounds on what one user's server may have recorded."""

import pytest

from superimap.domain import intake
from superimap.domain.intake import Intake, Suspensions


def test_tens_of_thousands_of_mails_at_once_are_honest():
    assert Intake().record(mails=50_000, gaps=0, now=0.0) is None


@pytest.mark.parametrize(
    ("mails", "gaps", "every", "is_suspended"),
    [
        (50_000, 0, 3600.0, False),
        (100, 0, 8.0, False),
        (100, 0, 1.0, True),
        (0, 1000, 3600.0, False),
        (0, 10, 1.0, True),
    ],
)
def test_a_rate_beyond_the_allowance_suspends(mails, gaps, every, is_suspended):
    user = Intake()
    reasons = [user.record(mails=mails, gaps=gaps, now=number * every) for number in range(2000)]

    assert any(reasons) is is_suspended


def test_suspensions_grow_from_minutes_to_hours_and_are_forgiven_after_a_day():
    suspensions = Suspensions()
    now, pauses = 0.0, []
    for _ in range(9):
        pauses.append(suspensions.suspend(now=now))
        now += pauses[-1]

    assert pauses == [300, 600, 1200, 2400, 4800, 9600, 19200, 21600, 21600]
    assert suspensions.suspend(now=now + intake.FORGIVEN_AFTER_SECONDS + 1) == 300


def test_suspensions_for_connections_that_end_by_limits_do_not_grow():
    suspensions = Suspensions()

    assert [suspensions.pause() for _ in range(9)] == [300] * 9


def test_only_connections_in_a_row_count_as_excesses():
    suspensions = Suspensions()

    assert [suspensions.exceeds() for _ in range(intake.TOLERATED_EXCESSES + 1)] == [
        *[False] * intake.TOLERATED_EXCESSES,
        True,
    ]
    suspensions.forgive()
    assert not suspensions.exceeds()
