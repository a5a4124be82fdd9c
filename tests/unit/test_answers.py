"""The judgement of a receiver's answer: outcome, delay of the next attempt, signal for the breaker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superimap.domain.answers import (
    MAX_RETRY_AFTER_SECONDS,
    RETRY_SCHEDULE_SECONDS,
    EndpointSignal,
    LocalError,
    judge_answer,
    retry_after_seconds,
    retry_delay,
)
from superimap.domain.deliveries import AttemptOutcome

NOW_SECONDS = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
FIRST_DELAY, LAST_ATTEMPT = RETRY_SCHEDULE_SECONDS[0], len(RETRY_SCHEDULE_SECONDS) + 1
DELIVERED = (AttemptOutcome.DELIVERED, 0)
ARCHIVE = (AttemptOutcome.ARCHIVE, 0)
FAILED = (AttemptOutcome.FAILED, 0)


def retry(seconds: object) -> tuple[AttemptOutcome, object]:
    return AttemptOutcome.RETRY, seconds


def outcome(
    status: int | None,
    *,
    attempt: int = 1,
    chance: float = 0.5,
    pause: float | None = None,
    archives: bool = True,
) -> tuple[AttemptOutcome, float]:
    """Outcome and delay; `pause` is what `Retry-After` requests."""
    retry_after = None if pause is None else str(pause)
    judgement = judge_answer(
        status, attempt=attempt, chance=chance, retry_after=retry_after, now=NOW_SECONDS, archives=archives
    )
    return judgement.outcome, judgement.delay


def signal(status: int | None, *, archives: bool = True) -> EndpointSignal | None:
    return judge_answer(status, attempt=1, chance=0.5, archives=archives).signal


@pytest.mark.parametrize("status", [200, 201, 202, 203, 204, 205, 206, 226, 299])
def test_any_2xx_is_delivered(status: int):
    assert outcome(status) == DELIVERED


@pytest.mark.parametrize("attempt", [1, 6, LAST_ATTEMPT, 99])
def test_403_archives_the_user_at_every_attempt(attempt: int):
    assert outcome(403, attempt=attempt) == ARCHIVE


def test_403_to_an_event_archives_no_user_and_is_a_refusal_like_any_other():
    assert outcome(403, archives=False) == retry(FIRST_DELAY)
    assert outcome(403, attempt=LAST_ATTEMPT, archives=False) == FAILED
    assert signal(403, archives=False) is EndpointSignal.REJECTED
    assert signal(204, archives=False) is EndpointSignal.HEALTHY


@pytest.mark.parametrize("status", [None, 100, 199, 300, 302, 400, 401, 404, 429, 500, 502, 503, 599, 999])
def test_any_other_answer_is_retried(status: int | None):
    assert outcome(status) == retry(FIRST_DELAY)


def test_the_schedule_is_the_documented_one():
    assert RETRY_SCHEDULE_SECONDS == (
        6, 21, 86, 261, 630, 1301, 2406, 4101, 6566, 10_005, 14_646, 20_741, 28_566, 38_421, 50_630, 65_541,
    )  # fmt: skip


def test_the_first_five_delays_are_exact_to_the_second():
    for chance in (0.0, 0.999):
        delays = [outcome(500, attempt=attempt, chance=chance) for attempt in range(1, 6)]
        assert delays == [retry(delay) for delay in RETRY_SCHEDULE_SECONDS[:5]]


def test_later_delays_grow_and_are_spread_by_a_tenth():
    for attempt in range(6, len(RETRY_SCHEDULE_SECONDS) + 1):
        planned = RETRY_SCHEDULE_SECONDS[attempt - 1]
        assert outcome(500, attempt=attempt, chance=0.0) == retry(pytest.approx(planned * 0.9))
        assert outcome(500, attempt=attempt, chance=1.0) == retry(pytest.approx(planned * 1.1))


def test_all_attempts_take_about_three_days_and_then_the_delivery_fails():
    last = len(RETRY_SCHEDULE_SECONDS)

    assert 2.5 < sum(RETRY_SCHEDULE_SECONDS) / 86_400 <= 3
    assert list(RETRY_SCHEDULE_SECONDS) == sorted(RETRY_SCHEDULE_SECONDS)
    assert outcome(500, attempt=last) == retry(pytest.approx(RETRY_SCHEDULE_SECONDS[-1]))
    assert outcome(500, attempt=last + 1) == FAILED
    assert outcome(None, attempt=1000) == FAILED
    assert retry_delay(last + 1, chance=0.5) is None


def test_an_impossible_attempt_number_counts_as_the_first():
    assert outcome(500, attempt=0) == retry(FIRST_DELAY)


@pytest.mark.parametrize("attempt", [1, LAST_ATTEMPT, 99])
def test_after_410_a_delivery_stays_pending_at_every_attempt(attempt: int):
    assert outcome(410, attempt=attempt, pause=60) == retry(0)


def test_a_requested_pause_delays_a_retry_and_never_brings_it_forward():
    assert outcome(429, attempt=1, pause=120) == retry(120)
    assert outcome(503, attempt=4, pause=RETRY_SCHEDULE_SECONDS[3] - 1) == retry(RETRY_SCHEDULE_SECONDS[3])
    assert outcome(503, attempt=6, pause=3600) == retry(3600)


@pytest.mark.parametrize(
    ("expected", "statuses"),
    [
        (EndpointSignal.HEALTHY, [200, 204, 299, 403]),
        (EndpointSignal.REJECTED, [300, 302, 400, 401, 404, 422, 499]),
        (EndpointSignal.BUSY, [429, 503]),
        (EndpointSignal.FAILING, [None, 100, 199, 500, 502, 504, 599, 999]),
        (EndpointSignal.GONE, [410]),
    ],
)
def test_signal_of_an_answer(expected: EndpointSignal, statuses: list[int | None]):
    assert {signal(status) for status in statuses} == {expected}


@pytest.mark.parametrize("status", [None, 200, 403, 404, 410, 429, 503])
def test_a_requested_pause_is_passed_to_the_breaker(status: int | None):
    judgement = judge_answer(status, attempt=1, chance=0.5, retry_after="120", now=NOW_SECONDS)

    assert judgement.pause == 120


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LocalError.UNSIGNED, retry(FIRST_DELAY)),
        (LocalError.UNKNOWN_KEY, retry(FIRST_DELAY)),
        (LocalError.UNREADABLE, FAILED),
    ],
)
def test_an_error_on_our_side_has_no_effect_on_the_endpoint(
    error: LocalError, expected: tuple[AttemptOutcome, float]
):
    judgement = judge_answer(None, error=error, attempt=1, chance=0.5)

    assert (judgement.outcome, judgement.delay) == expected
    assert (judgement.signal, judgement.pause) == (None, 0)


@pytest.mark.parametrize("error", ["timeout", "dns", "protocol"])
def test_an_answer_counts_although_its_body_was_cut_short(error: str):
    judgement = judge_answer(200, error=error, attempt=1, chance=0.5)

    assert (judgement.outcome, judgement.signal) == (AttemptOutcome.DELIVERED, EndpointSignal.HEALTHY)


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
def test_retry_after_is_read_as_seconds_or_as_a_date(text: str | None, seconds: float):
    assert retry_after_seconds(text, now=NOW_SECONDS) == seconds


@pytest.mark.parametrize("text", ["1000000000", "1e9", "inf", "9" * 60])
def test_abuse_63_a_pause_of_years_is_cut_to_an_hour(text: str):
    assert retry_after_seconds(text, now=NOW_SECONDS) == MAX_RETRY_AFTER_SECONDS == 3600


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
    assert retry_after_seconds(text, now=NOW_SECONDS) == 0


@given(st.text())
def test_abuse_63_every_pause_is_bounded(text: str):
    assert 0 <= retry_after_seconds(text, now=NOW_SECONDS) <= MAX_RETRY_AFTER_SECONDS
