"""Deferred mails: waits between attempts, and what counts towards giving a mail up."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superimap.domain.deferrals import (
    FIRST_RETRY_SECONDS,
    GIVE_UP_SECONDS,
    LONGEST_RETRY_SECONDS,
    failure_credit,
    is_found_again,
    retry_delay,
    silence_limit,
)
from superimap.domain.numbering import identify

HOUR = 3600.0


@pytest.mark.parametrize(
    ("attempts", "chance", "seconds"),
    [(1, 1.0, 1.0), (1, 0.0, 0.5), (2, 1.0, 2.0), (5, 1.0, 16.0), (12, 1.0, 2048.0), (13, 1.0, 3600.0),
     (13, 0.0, 1800.0), (10**6, 1.0, 3600.0)],
)  # fmt: skip
def test_the_wait_doubles_from_a_second_to_an_hour(attempts, chance, seconds):
    assert retry_delay(attempts, first=1.0, longest=3600.0, chance=chance) == seconds


@pytest.mark.parametrize(
    ("gap", "is_proven", "counted"),
    [
        (60.0, True, 60.0),
        (60.0, False, 0.0),  # an outage, or no other mail to prove the contrary
        (0.0, True, 0.0),
        (-5.0, True, 0.0),  # a clock that went backwards
        (2 * HOUR, True, 2 * HOUR),
        (30 * 24 * HOUR, True, 2 * HOUR),  # a month in which nothing was tried
    ],
)
def test_only_proven_failures_count_and_long_gaps_count_as_two_retries(gap, is_proven, counted):
    assert failure_credit(gap, is_proven=is_proven, longest_retry=HOUR) == counted


@given(st.lists(st.tuples(st.floats(0, 1e7), st.booleans(), st.floats(0, 1)), max_size=200))
def test_a_mail_is_never_given_up_before_two_days_of_proven_failure(gaps):
    """However many attempts fail, and however long the mail waits between them."""
    counted = sum(failure_credit(gap, is_proven=proven, longest_retry=HOUR) for gap, proven, _ in gaps)
    proven_time = sum(gap for gap, proven, _ in gaps if proven)

    assert counted <= proven_time * (1 + 1e-9)
    if counted >= GIVE_UP_SECONDS:
        assert sum(proven for _, proven, _ in gaps) >= GIVE_UP_SECONDS / (2 * HOUR)


@given(st.integers(1, 10**9), st.floats(0, 1))
def test_every_wait_is_between_half_a_second_and_an_hour(attempts, chance):
    wait = retry_delay(attempts, first=FIRST_RETRY_SECONDS, longest=LONGEST_RETRY_SECONDS, chance=chance)

    assert 0.5 <= wait <= 3600


@pytest.mark.parametrize(
    ("gap", "seconds"),
    [(0.0, 10.0), (1.0, 10.0), (300.0, 10.0), (600.0, 20.0), (HOUR, 60.0), (24 * HOUR, 60.0)],
)
def test_a_further_attempt_may_be_silent_for_a_part_of_the_time_since_the_one_before(gap, seconds):
    assert silence_limit(gap, fetch=120.0) == seconds


DATE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("deferred", "seen", "is_same"),
    [
        (("<a@x>", DATE, 9), ("<a@x>", DATE + timedelta(hours=1), 9), True),  # a server that moves its dates
        (("<a@x>", DATE, 9), ("<b@x>", DATE, 9), False),
        (("<a@x>", DATE, 9), (None, DATE, 9), True),
        (("<scan@x>", DATE, 9), ("<scan@x>", DATE + timedelta(minutes=1), 8), False),  # a constant Message-ID
        (("<a@x>", DATE, 9), ("<a@x>", DATE, 8), True),  # a server that estimates sizes
        ((None, DATE, 9), (None, DATE, 8), False),  # two mails in one second
        ((None, DATE, None), ("<a@x>", DATE, 9), True),
        ((None, DATE, 9), ("<a@x>", DATE + timedelta(seconds=1), 9), False),
        ((None, None, 9), (None, None, 9), False),
        (("<a@x>", None, 9), (None, DATE, 9), False),
    ],
)
def test_a_deferred_mail_is_found_again_by_its_message_id_or_else_its_date(deferred, seen, is_same):
    assert is_found_again(identify(*deferred), identify(*seen)) is is_same
