"""Which answer means what, and when is the next attempt?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superimap.domain.answers import (
    MAX_RETRY_AFTER_SECONDS,
    RETRY_SCHEDULE_SECONDS,
    ArchiveUser,
    Delivered,
    EndpointSignal,
    GiveUp,
    RetryIn,
    retry_after,
    sign,
    verdict,
)


@pytest.mark.parametrize("status", [200, 201, 202, 203, 204, 205, 206, 226, 299])
def test_any_2xx_is_delivered(status: int):
    assert verdict(status, attempt=1, chance=0.5) == Delivered()


@pytest.mark.parametrize("attempt", [1, 6, 17, 99])
def test_403_archives_the_user_whatever_the_attempt(attempt: int):
    assert verdict(403, attempt=attempt, chance=0.5) == ArchiveUser()


def test_403_to_an_event_archives_nobody_and_is_a_refusal_like_any_other():
    assert verdict(403, attempt=1, chance=0.5, archives=False) == RetryIn(6)
    assert verdict(403, attempt=17, chance=0.5, archives=False) == GiveUp()
    assert sign(403, archives=False) is EndpointSignal.ODD
    assert sign(204, archives=False) is EndpointSignal.WELL


@pytest.mark.parametrize("status", [None, 100, 199, 300, 302, 400, 401, 404, 429, 500, 502, 503, 599, 999])
def test_anything_else_is_tried_again(status: int | None):
    assert verdict(status, attempt=1, chance=0.5) == RetryIn(6)


def test_the_first_five_delays_are_kept_to_the_second():
    for chance in (0.0, 0.999):
        delays = [verdict(500, attempt=attempt, chance=chance) for attempt in range(1, 6)]
        assert delays == [RetryIn(6), RetryIn(21), RetryIn(86), RetryIn(261), RetryIn(630)]


def test_later_delays_grow_and_spread_by_a_tenth():
    for attempt in range(6, len(RETRY_SCHEDULE_SECONDS) + 1):
        planned = attempt**4 + 5
        assert verdict(500, attempt=attempt, chance=0.0) == RetryIn(pytest.approx(planned * 0.9))
        assert verdict(500, attempt=attempt, chance=1.0) == RetryIn(pytest.approx(planned * 1.1))


def test_all_attempts_take_about_three_days_and_then_end():
    assert 2.5 < sum(RETRY_SCHEDULE_SECONDS) / 86_400 <= 3
    assert list(RETRY_SCHEDULE_SECONDS) == sorted(RETRY_SCHEDULE_SECONDS)
    assert verdict(500, attempt=len(RETRY_SCHEDULE_SECONDS), chance=0.5) == RetryIn(
        pytest.approx(RETRY_SCHEDULE_SECONDS[-1])
    )
    assert verdict(500, attempt=len(RETRY_SCHEDULE_SECONDS) + 1, chance=0.5) == GiveUp()
    assert verdict(None, attempt=1000, chance=0.5) == GiveUp()


def test_an_attempt_number_that_cannot_be_is_taken_for_the_first():
    assert verdict(500, attempt=0, chance=0.5) == RetryIn(6)


@pytest.mark.parametrize("attempt", [1, 17, 99])
def test_after_410_a_delivery_stays_owed_whatever_the_attempt(attempt: int):
    assert verdict(410, attempt=attempt, chance=0.5, wait=60) == RetryIn(0)


def test_a_pause_that_was_asked_for_puts_a_retry_off_and_never_brings_it_forward():
    assert verdict(429, attempt=1, chance=0.5, wait=120) == RetryIn(120)
    assert verdict(503, attempt=4, chance=0.5, wait=120) == RetryIn(261)
    assert verdict(503, attempt=6, chance=0.5, wait=3600) == RetryIn(3600)


@pytest.mark.parametrize(
    ("told", "statuses"),
    [
        (EndpointSignal.WELL, [200, 204, 299, 403]),
        (EndpointSignal.ODD, [300, 302, 400, 401, 404, 422, 499]),
        (EndpointSignal.BUSY, [429, 503]),
        (EndpointSignal.ILL, [None, 100, 199, 500, 502, 504, 599, 999]),
        (EndpointSignal.GONE, [410]),
    ],
)
def test_what_an_answer_tells_of_its_endpoint(told: EndpointSignal, statuses: list[int | None]):
    assert {sign(status) for status in statuses} == {told}


NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("7", 7),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
        ("Tuesday, 14-Nov-23 22:14:20 GMT", 60),
        ("Tue, 14 Nov 2023 23:14:20 +0100", 60),
        ("Tue, 14 Nov 2023 22:14:20", 60),
        ("Mon, 13 Nov 2023 22:13:20 GMT", 0),
        ("Fri, 14 Nov 2081 22:13:20 GMT", MAX_RETRY_AFTER_SECONDS),
    ],
)
def test_a_pause_is_read_as_seconds_or_as_a_date(text: str | None, seconds: float):
    assert retry_after(text, now=NOW) == seconds


@pytest.mark.parametrize("text", ["1000000000", "1e9", "inf", "9" * 60])
def test_abuse_63_a_pause_of_years_is_cut_to_an_hour(text: str):
    assert retry_after(text, now=NOW) == MAX_RETRY_AFTER_SECONDS == 3600


@pytest.mark.parametrize(
    "text",
    [
        "-1",
        "-1e9",
        "-inf",
        "nan",
        "NaN",
        "soon",
        "1;2",
        "\x00",
        "Tue, 99 Nov 99999 99:99:99 GMT",
        "9" * 10_000,
    ],
)
def test_abuse_63_nonsense_is_no_pause(text: str):
    assert retry_after(text, now=NOW) == 0


@given(st.text())
def test_abuse_63_whatever_is_written_a_pause_is_bounded(text: str):
    assert 0 <= retry_after(text, now=NOW) <= MAX_RETRY_AFTER_SECONDS
