"""The circuit breaker of an endpoint: how many POSTs it allows after each sequence of answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superimap.domain.answers import EndpointSignal as Signal
from superimap.domain.breaker import (
    DISABLE_AFTER,
    FAILURES_TO_OPEN,
    MAX_PAUSE_SECONDS,
    Observation,
    next_health,
)
from superimap.domain.deliveries import HEALTHY, EndpointHealth

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MAX_POSTS = 10


def after(
    health: EndpointHealth,
    *signals: Signal,
    now: datetime = NOW,
    pause: float = 0.0,
    max_posts: int = MAX_POSTS,
) -> EndpointHealth:
    """Its health after POSTs, one after the other, each claimed when the one before had ended."""
    for signal in signals:
        health = next_health(
            health, Observation(signal, health.setbacks, pause), now=now, max_posts=max_posts
        )
    return health


def pause_of(health: EndpointHealth, now: datetime = NOW) -> float:
    return (health.probe_at - now).total_seconds() if health.probe_at else 0.0


OPEN = after(HEALTHY, *[Signal.FAILING] * FAILURES_TO_OPEN)


def test_ten_failures_in_a_row_open_the_breaker_and_nine_do_not():
    nine = after(HEALTHY, *[Signal.FAILING] * 9)

    assert (nine.breaker, nine.failures, nine.failing_since) == ("closed", 9, NOW)
    assert after(nine, Signal.HEALTHY) == HEALTHY
    assert (OPEN.breaker, OPEN.setbacks, pause_of(OPEN)) == ("open", 1, 5.0)


def test_rejected_deliveries_never_open_the_breaker():
    assert after(HEALTHY, *[Signal.REJECTED] * 1000).breaker == "closed"


def test_posts_that_timed_out_together_are_one_setback():
    health = HEALTHY
    for _ in range(50):
        health = next_health(health, Observation(Signal.FAILING, setbacks=0), now=NOW, max_posts=MAX_POSTS)

    assert (health.breaker, health.setbacks, pause_of(health)) == ("open", 1, 5.0)


def test_pauses_between_probes_double_up_to_five_minutes():
    health, pauses = OPEN, []
    for _ in range(8):
        health = after(
            replace(health, probe_at=NOW + timedelta(seconds=40)), Signal.FAILING
        )  # as the claim left it
        pauses.append(pause_of(health))

    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]


def test_after_a_successful_probe_each_success_allows_one_more_post_until_the_breaker_closes():
    health, widths = OPEN, []
    while health != HEALTHY:
        health = after(health, Signal.HEALTHY)
        widths.append(health.width)

    assert widths == [*range(1, MAX_POSTS), None]
    assert after(OPEN, Signal.HEALTHY).probe_at is None


def test_with_a_limit_of_one_post_a_successful_probe_closes_the_breaker():
    assert after(OPEN, Signal.HEALTHY, max_posts=1) == HEALTHY


def test_a_failure_in_slow_start_opens_the_breaker_again_for_longer():
    health = after(OPEN, Signal.HEALTHY, Signal.HEALTHY, Signal.FAILING)

    assert (health.breaker, health.width, health.setbacks, pause_of(health)) == ("open", None, 2, 10.0)


def test_a_late_success_from_before_the_breaker_opened_does_not_count_as_a_probe():
    health = next_health(OPEN, Observation(Signal.HEALTHY, setbacks=0), now=NOW, max_posts=MAX_POSTS)

    assert (health.breaker, health.probe_at, health.failing_since) == ("open", OPEN.probe_at, None)


def test_a_rejected_probe_shows_that_the_endpoint_answers():
    health = after(OPEN, Signal.REJECTED)

    assert (health.breaker, health.width, health.probe_at) == ("slow_start", 1, None)
    assert health.failing_since == NOW


def test_a_busy_endpoint_gets_half_as_many_posts_after_a_pause():
    once = after(HEALTHY, Signal.BUSY)
    twice = after(once, Signal.BUSY)

    assert (once.breaker, once.width, pause_of(once)) == ("slow_start", 5, 1.0)
    assert (twice.width, pause_of(twice)) == (2, 2.0)
    assert after(twice, Signal.BUSY, Signal.BUSY).width == 1
    assert after(once, Signal.HEALTHY).width == 6


def test_a_requested_pause_applies_to_all_posts():
    health = after(HEALTHY, Signal.BUSY, pause=77)
    late = next_health(health, Observation(Signal.BUSY, setbacks=0, pause=99), now=NOW, max_posts=MAX_POSTS)

    assert pause_of(health) == 77
    assert (late.setbacks, late.width, pause_of(late)) == (1, 5, 99)


def test_410_disables_the_endpoint_at_once_and_no_later_answer_enables_it():
    health = after(HEALTHY, Signal.GONE)

    assert (health.disabled_at, health.disabled_reason) == (NOW, "gone")
    assert after(health, Signal.HEALTHY, Signal.FAILING, Signal.GONE, now=NOW + timedelta(days=9)) == health


@pytest.mark.parametrize("signal", [Signal.FAILING, Signal.BUSY, Signal.REJECTED])
def test_five_days_of_failures_without_a_success_disable_the_endpoint(signal: Signal):
    health = after(HEALTHY, *[signal] * FAILURES_TO_OPEN)

    just_before = after(health, signal, now=NOW + DISABLE_AFTER - timedelta(seconds=1))
    then = after(health, signal, now=NOW + DISABLE_AFTER)

    assert just_before.disabled_at is None
    assert (then.disabled_at, then.disabled_reason) == (NOW + DISABLE_AFTER, "failing")
    assert after(after(health, Signal.HEALTHY), signal, now=NOW + DISABLE_AFTER).disabled_at is None


def test_two_failures_with_five_days_without_posts_between_disable_nothing():
    assert (
        after(after(HEALTHY, Signal.FAILING), Signal.FAILING, now=NOW + 2 * DISABLE_AFTER).disabled_at is None
    )


def test_abuse_59_an_endpoint_that_alternates_is_probed_as_rarely_as_one_that_only_fails():
    """Every second answer is a 500. In an hour with an open breaker there are few POSTs."""
    health, now, posts = OPEN, NOW, 0
    while now < NOW + timedelta(hours=1):
        now = max(now, health.probe_at or now)
        health = after(health, Signal.HEALTHY if posts % 2 == 0 else Signal.FAILING, now=now)
        posts += 1
        now += timedelta(milliseconds=10)

    assert posts < 2 * (6 + 3600 / MAX_PAUSE_SECONDS) + 2


histories = st.lists(
    st.tuples(
        st.builds(Observation, st.sampled_from(Signal), st.integers(0, 9), st.floats(0, 3600)),
        st.floats(0, 1e6),
    ),
    max_size=60,
)


@given(histories, st.integers(1, 50))
def test_the_state_is_consistent_after_every_history(
    history: list[tuple[Observation, float]], max_posts: int
):
    health, now = HEALTHY, NOW
    for observation, later in history:
        now += timedelta(seconds=later)
        before = health
        health = next_health(health, observation, now=now, max_posts=max_posts)

        assert health.breaker in ("closed", "open", "slow_start")
        assert (health.width is not None) == (health.breaker == "slow_start")
        assert health.width is None or 1 <= health.width < max(max_posts, 2)
        assert health.breaker == "closed" or health.setbacks > 0
        assert (health.failing_since is None) == (health.failures == 0)
        if health.disabled_at is None and health.probe_at != before.probe_at and health.probe_at:
            assert health.probe_at <= max(now + timedelta(hours=1), before.probe_at or now)
