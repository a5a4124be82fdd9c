"""Which answer means what, and when is the next attempt?"""

import pytest

from superimap.dispatcher.verdict import (
    SCHEDULE,
    ArchiveUser,
    Delivered,
    GiveUp,
    RetryIn,
    verdict,
)


@pytest.mark.parametrize("status", [200, 201, 202, 203, 204, 205, 206, 226, 299])
def test_any_2xx_is_delivered(status: int):
    assert verdict(status, attempt=1, chance=0.5) == Delivered()


@pytest.mark.parametrize("attempt", [1, 6, 17, 99])
def test_403_archives_the_user_whatever_the_attempt(attempt: int):
    assert verdict(403, attempt=attempt, chance=0.5) == ArchiveUser()


@pytest.mark.parametrize(
    "status", [None, 100, 199, 300, 302, 400, 401, 404, 410, 429, 500, 502, 503, 599, 999]
)
def test_anything_else_is_tried_again(status: int | None):
    assert verdict(status, attempt=1, chance=0.5) == RetryIn(6)


def test_the_first_five_delays_are_kept_to_the_second():
    for chance in (0.0, 0.999):
        delays = [verdict(500, attempt=attempt, chance=chance) for attempt in range(1, 6)]
        assert delays == [RetryIn(6), RetryIn(21), RetryIn(86), RetryIn(261), RetryIn(630)]


def test_later_delays_grow_and_spread_by_a_tenth():
    for attempt in range(6, len(SCHEDULE) + 1):
        planned = attempt**4 + 5
        assert verdict(500, attempt=attempt, chance=0.0) == RetryIn(pytest.approx(planned * 0.9))
        assert verdict(500, attempt=attempt, chance=1.0) == RetryIn(pytest.approx(planned * 1.1))


def test_all_attempts_take_about_three_days_and_then_end():
    assert 2.5 < sum(SCHEDULE) / 86_400 <= 3
    assert list(SCHEDULE) == sorted(SCHEDULE)
    assert verdict(500, attempt=len(SCHEDULE), chance=0.5) == RetryIn(pytest.approx(SCHEDULE[-1]))
    assert verdict(500, attempt=len(SCHEDULE) + 1, chance=0.5) == GiveUp()
    assert verdict(None, attempt=1000, chance=0.5) == GiveUp()


def test_an_attempt_number_that_cannot_be_is_taken_for_the_first():
    assert verdict(500, attempt=0, chance=0.5) == RetryIn(6)
