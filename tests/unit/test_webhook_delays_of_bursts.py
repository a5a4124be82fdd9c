"""Whose fault slow webhooks are, judged by the latest 100 POSTs of bursts and of outages of dispatchers."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from superimap.domain.webhook_delays import DelayCause, FirstPost, judge_delays

START = datetime(2026, 9, 21, tzinfo=UTC)
SAMPLE = 100
LANES = (1, 10, 50, 300)


def posts_of(
    arrivals: Iterable[float], lanes: int, seconds: float, outage: tuple[float, float] = (0, 0)
) -> list[FirstPost]:
    """POSTs of webhooks that come at these seconds, to a receiver that answers after `seconds`, in order."""
    free, posts = [0.0] * lanes, []
    for at in arrivals:
        sent = max(at, heapq.heappop(free))
        sent = outage[1] if outage[0] <= sent < outage[1] else sent
        heapq.heappush(free, sent + seconds)
        times = (START + timedelta(seconds=each) for each in (at, sent))
        posts.append(FirstPost(*times, round(seconds * 1000), False))
    return posts


def judged(posts: list[FirstPost], lanes: int) -> DelayCause:
    is_whole = len(posts) <= SAMPLE
    return judge_delays(posts[-SAMPLE:], is_healthy=True, max_posts=lanes, is_whole=is_whole).cause


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("earlier", [0, 200])
def test_a_slow_receiver_of_a_burst_of_any_size_is_named(lanes, earlier):
    for seconds, count, rate in product((0.5, 1, 3), (50, 120, 150, 400, 1000), (60, 1000)):
        burst = (earlier + 20 + n / rate for n in range(count))
        posts = posts_of([*range(earlier), *burst], lanes, seconds)
        if sorted(post.waited for post in posts[-count:])[count // 2] > 1.5:
            assert judged(posts, lanes) is DelayCause.QUEUE, (seconds, count, rate)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("earlier", [0, 300])
def test_an_outage_of_dispatchers_is_ours_whatever_has_piled_up(lanes, earlier):
    for seconds, rate, outage in product((0.002, 0.1, 0.5), (0.2, 2, 20), (30, 120, 600)):
        if rate <= lanes / seconds / 2:  # otherwise the receiver is too slow as well
            begin = earlier / rate
            arrivals = (n / rate for n in range(earlier + int(rate * outage)))
            posts = posts_of(arrivals, lanes, seconds, (begin, begin + outage))
            assert judged(posts, lanes) is DelayCause.DISPATCHERS, (seconds, rate, outage)


def test_webhooks_behind_as_many_posts_as_are_sent_at_once_wait_for_the_receiver():
    hanging = judge_delays([], is_healthy=True, max_posts=10, overdue=20, in_flight=10)
    stopped = judge_delays([], is_healthy=True, max_posts=10, overdue=20, in_flight=3)

    assert (hanging.cause, stopped.cause) == (DelayCause.QUEUE, DelayCause.DISPATCHERS)
