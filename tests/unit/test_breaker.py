"""How much does the breaker let pass, whatever an endpoint answers?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superimap.domain.answers import EndpointSignal
from superimap.domain.breaker import (
    DISABLE_AFTER,
    FAILURES_TO_OPEN,
    MAX_PAUSE_SECONDS,
    Observation,
    next_health,
)
from superimap.domain.deliveries import HEALTHY, EndpointHealth

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CAP = 10


def told(
    health: EndpointHealth, *signs: EndpointSignal, now: datetime = NOW, wait: float = 0.0, cap: int = CAP
) -> EndpointHealth:
    """Its health after POSTs, one after the other, that were claimed as it was just before."""
    for sign in signs:
        health = next_health(health, Observation(sign, health.setbacks, wait), now=now, cap=cap)
    return health


def pause(health: EndpointHealth, now: datetime = NOW) -> float:
    return (health.probe_at - now).total_seconds() if health.probe_at else 0.0


OPEN = told(HEALTHY, *[EndpointSignal.ILL] * FAILURES_TO_OPEN)


def test_ten_failures_in_a_row_open_it_and_nine_do_not():
    nine = told(HEALTHY, *[EndpointSignal.ILL] * 9)

    assert (nine.breaker, nine.failures, nine.failing_since) == ("closed", 9, NOW)
    assert told(nine, EndpointSignal.WELL) == HEALTHY
    assert (OPEN.breaker, OPEN.setbacks, pause(OPEN)) == ("open", 1, 5.0)


def test_refusals_of_single_deliveries_never_open_it():
    assert told(HEALTHY, *[EndpointSignal.ODD] * 1000).breaker == "closed"


def test_posts_that_hung_together_are_one_setback():
    health = HEALTHY
    for _ in range(50):
        health = next_health(health, Observation(EndpointSignal.ILL, setbacks=0), now=NOW, cap=CAP)

    assert (health.breaker, health.setbacks, pause(health)) == ("open", 1, 5.0)


def test_pauses_between_probes_double_up_to_five_minutes():
    health, pauses = OPEN, []
    for _ in range(8):
        health = told(
            replace(health, probe_at=NOW + timedelta(seconds=40)), EndpointSignal.ILL
        )  # as the claim left it
        pauses.append(pause(health))

    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]


def test_after_a_probe_that_is_well_one_more_at_once_by_each_success_until_it_is_closed():
    health, widths = OPEN, []
    while health != HEALTHY:
        health = told(health, EndpointSignal.WELL)
        widths.append(health.width)

    assert widths == [*range(1, CAP), None]
    assert told(OPEN, EndpointSignal.WELL).probe_at is None


def test_with_one_post_at_once_a_probe_that_is_well_closes_it():
    assert told(OPEN, EndpointSignal.WELL, cap=1) == HEALTHY


def test_a_failure_in_slow_start_opens_it_again_for_longer():
    health = told(OPEN, EndpointSignal.WELL, EndpointSignal.WELL, EndpointSignal.ILL)

    assert (health.breaker, health.width, health.setbacks, pause(health)) == ("open", None, 2, 10.0)


def test_a_late_success_from_before_it_opened_is_no_probe():
    health = next_health(OPEN, Observation(EndpointSignal.WELL, setbacks=0), now=NOW, cap=CAP)

    assert (health.breaker, health.probe_at, health.failing_since) == ("open", OPEN.probe_at, None)


def test_a_probe_that_is_refused_shows_that_somebody_answers():
    health = told(OPEN, EndpointSignal.ODD)

    assert (health.breaker, health.width, health.probe_at) == ("slow_start", 1, None)
    assert health.failing_since == NOW


def test_a_busy_endpoint_gets_half_at_once_after_a_pause():
    once = told(HEALTHY, EndpointSignal.BUSY)
    twice = told(once, EndpointSignal.BUSY)

    assert (once.breaker, once.width, pause(once)) == ("slow_start", 5, 1.0)
    assert (twice.width, pause(twice)) == (2, 2.0)
    assert told(twice, EndpointSignal.BUSY, EndpointSignal.BUSY).width == 1
    assert told(once, EndpointSignal.WELL).width == 6


def test_a_pause_that_is_asked_for_is_kept_by_all():
    health = told(HEALTHY, EndpointSignal.BUSY, wait=77)
    late = next_health(health, Observation(EndpointSignal.BUSY, setbacks=0, wait=99), now=NOW, cap=CAP)

    assert pause(health) == 77
    assert (late.setbacks, late.width, pause(late)) == (1, 5, 99)


def test_gone_disables_it_at_once_and_nothing_it_answers_later_undoes_that():
    health = told(HEALTHY, EndpointSignal.GONE)

    assert (health.disabled_at, health.disabled_reason) == (NOW, "gone")
    assert (
        told(
            health, EndpointSignal.WELL, EndpointSignal.ILL, EndpointSignal.GONE, now=NOW + timedelta(days=9)
        )
        == health
    )


@pytest.mark.parametrize("sign", [EndpointSignal.ILL, EndpointSignal.BUSY, EndpointSignal.ODD])
def test_five_days_of_failures_alone_disable_it(sign: EndpointSignal):
    health = told(HEALTHY, *[sign] * FAILURES_TO_OPEN)

    just_before = told(health, sign, now=NOW + DISABLE_AFTER - timedelta(seconds=1))
    then = told(health, sign, now=NOW + DISABLE_AFTER)

    assert just_before.disabled_at is None
    assert (then.disabled_at, then.disabled_reason) == (NOW + DISABLE_AFTER, "failing")
    assert told(told(health, EndpointSignal.WELL), sign, now=NOW + DISABLE_AFTER).disabled_at is None


def test_two_failures_with_five_quiet_days_between_disable_nothing():
    assert (
        told(told(HEALTHY, EndpointSignal.ILL), EndpointSignal.ILL, now=NOW + 2 * DISABLE_AFTER).disabled_at
        is None
    )


def test_abuse_59_an_endpoint_that_takes_turns_is_posted_to_as_rarely_as_one_that_only_fails():
    """Every second answer is a 500: in an hour, with the breaker open, the POSTs stay few."""
    health, now, posts = OPEN, NOW, 0
    while now < NOW + timedelta(hours=1):
        now = max(now, health.probe_at or now)
        health = told(health, EndpointSignal.WELL if posts % 2 == 0 else EndpointSignal.ILL, now=now)
        posts += 1
        now += timedelta(milliseconds=10)

    assert posts < 2 * (6 + 3600 / MAX_PAUSE_SECONDS) + 2


events = st.lists(
    st.tuples(
        st.builds(Observation, st.sampled_from(EndpointSignal), st.integers(0, 9), st.floats(0, 3600)),
        st.floats(0, 1e6),
    ),
    max_size=60,
)


@given(events, st.integers(1, 50))
def test_whatever_comes_the_state_makes_sense(history: list[tuple[Observation, float]], cap: int):
    health, now = HEALTHY, NOW
    for event, later in history:
        now += timedelta(seconds=later)
        before = health
        health = next_health(health, event, now=now, cap=cap)

        assert health.breaker in ("closed", "open", "slow_start")
        assert (health.width is not None) == (health.breaker == "slow_start")
        assert health.width is None or 1 <= health.width < max(cap, 2)
        assert health.breaker == "closed" or health.setbacks > 0
        assert (health.failing_since is None) == (health.failures == 0)
        if health.disabled_at is None and health.probe_at != before.probe_at and health.probe_at:
            assert health.probe_at <= max(now + timedelta(hours=1), before.probe_at or now)
