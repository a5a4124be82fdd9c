"""Whose fault slow webhooks are: a table."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from superimap.api.dashboard.delay_words import delay_words
from superimap.domain.webhook_delays import DelayCause, FirstPost, judge_delays

START = datetime(2026, 9, 21, tzinfo=UTC)


def post(recorded: float, waited: float, took: float, *, is_failed: bool = False) -> FirstPost:
    """A POST that was recorded this many seconds after the start, and waited and took this many seconds."""
    at = START + timedelta(seconds=recorded)
    return FirstPost(at, at + timedelta(seconds=waited), round(took * 1000), is_failed)


FAST = [post(n, 0.01, 0.1) for n in range(20)]
SLOW_ANSWERS = [post(n, 0.01, 3) for n in range(20)]
# Two at once: each waits for those before it.
QUEUED = [post(0, n // 2 * 3, 3) for n in range(20)]
LATE = [post(n, 30, 0.1) for n in range(20)]
FAILED = [post(n, 30, 0.1, is_failed=n < 3) for n in range(20)]


@pytest.mark.parametrize(
    ("posts", "is_healthy", "cause"),
    [
        ([], True, DelayCause.UNKNOWN),
        (FAST, True, DelayCause.NONE),
        (FAST, False, DelayCause.NONE),
        (SLOW_ANSWERS, True, DelayCause.ANSWERS),
        (QUEUED, True, DelayCause.QUEUE),
        (LATE, True, DelayCause.DISPATCHERS),
        (LATE, False, DelayCause.FAILURES),
        (FAILED, True, DelayCause.FAILURES),
        ([*FAST[:-1], post(20, 30, 0.1)] * 2, True, DelayCause.DISPATCHERS),
        ([*FAST * 5, post(20, 30, 0.1)], True, DelayCause.NONE),  # one of a hundred is no pattern
        ([post(0, -5, 0.1)], True, DelayCause.NONE),  # clocks may differ
    ],
)
def test_cause_of_slow_webhooks(posts, is_healthy, cause):
    assert judge_delays(posts, is_healthy=is_healthy, max_posts=2).cause is cause


@pytest.mark.parametrize(
    ("posts", "is_healthy", "cause"),
    [
        ([], True, DelayCause.DISPATCHERS),
        ([], False, DelayCause.FAILURES),
        (FAST, False, DelayCause.FAILURES),
        (FAST, True, DelayCause.DISPATCHERS),
        (QUEUED, True, DelayCause.QUEUE),
    ],
)
def test_cause_of_a_webhook_that_is_not_sent_at_all(posts, is_healthy, cause):
    assert judge_delays(posts, is_healthy=is_healthy, max_posts=2, overdue=60).cause is cause


def test_webhooks_of_a_disabled_endpoint_wait_for_a_person():
    judged = judge_delays(FAST, is_healthy=False, max_posts=2, overdue=60, is_disabled=True)

    assert judged.cause is DelayCause.DISABLED


@pytest.mark.parametrize(
    ("received", "cause"),
    [
        (0.5, DelayCause.NONE),
        (120, DelayCause.RECORD),
        (7 * 86_400, DelayCause.NONE),  # moved or imported, with an old date
    ],
)
def test_mails_that_are_recorded_late_are_not_fast(received, cause):
    posts = [replace(each, received_at=each.recorded_at - timedelta(seconds=received)) for each in FAST]

    assert judge_delays(posts, is_healthy=True, max_posts=2).cause is cause
    assert judge_delays(SLOW_ANSWERS + posts, is_healthy=True, max_posts=2).cause is DelayCause.ANSWERS


def test_the_slow_part_of_the_answers_is_named():
    posts = [post(n, 0, 0.001 if n < 90 else 7.4) for n in range(100)]

    words = delay_words(judge_delays(posts, is_healthy=True, max_posts=10))

    assert words.text.endswith("but one answer in twenty takes 7.4 s or more.")


def test_times_are_split_into_ours_and_theirs():
    judged = judge_delays([post(n, n, 2 * n) for n in range(100)], is_healthy=True, max_posts=10)

    assert (judged.count, judged.waited_half, judged.waited_most) == (100, 50, 95)
    assert (judged.answered_half, judged.answered_most) == (100, 190)
