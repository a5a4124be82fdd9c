"""Where the time of webhooks goes: before the POST, with us, or until the answer, with the receiver. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

SLOW_SECONDS = 1.0
"""A webhook that waits, or whose answer takes, this long is slow."""
OVERDUE_SECONDS = 5.0
"""The wait of a webhook that is due and not sent, above which webhooks are late whatever the last POSTs were."""
MIN_FAILED_FRACTION = 0.1
"""Share of failed first attempts above which the waits of the others are put down to the circuit breaker."""


class DelayCause(StrEnum):
    """Why webhooks of an endpoint are slow."""

    UNKNOWN = "unknown"  # no webhook was sent lately
    NONE = "none"  # they are not slow
    ANSWERS = "answers"  # the receiver takes long to answer
    QUEUE = "queue"  # the receiver takes so long that its answers hold up the following webhooks
    FAILURES = "failures"  # the receiver fails, so that the circuit breaker holds webhooks back
    DISABLED = "disabled"  # the endpoint is disabled, and webhooks wait until somebody enables it
    DISPATCHERS = "dispatchers"  # we send late


@dataclass(frozen=True, slots=True)
class FirstPost:
    """The first attempt of a delivery. `is_failed`: no answer, a 5xx or a 429."""

    recorded_at: datetime
    sent_at: datetime
    milliseconds: int
    is_failed: bool

    @property
    def waited(self) -> float:
        """Seconds from the recording of the mail to the POST."""
        return max(0.0, (self.sent_at - self.recorded_at).total_seconds())

    @property
    def answered_at(self) -> datetime:
        """The end of the POST."""
        return self.sent_at + timedelta(milliseconds=self.milliseconds)


@dataclass(frozen=True, slots=True)
class DelayJudgement:
    """The cause, and the seconds that half and 95 % of the POSTs waited at most, and were under way at most."""

    cause: DelayCause
    count: int = 0
    waited_half: float = 0.0
    waited_most: float = 0.0
    answered_half: float = 0.0
    answered_most: float = 0.0


def judge_delays(
    posts: Sequence[FirstPost],
    *,
    is_healthy: bool,
    max_posts: int,
    overdue: float = 0.0,
    is_disabled: bool = False,
) -> DelayJudgement:
    """Judge the latest POSTs of an endpoint, which sends at most `max_posts` at once.

    `overdue`: seconds for which the first webhook of the backlog has been due. `is_disabled`: nothing is sent
    until somebody enables the endpoint.
    """
    waited = sorted(post.waited for post in posts)
    answered = sorted(post.milliseconds / 1000 for post in posts)
    if is_disabled and overdue >= OVERDUE_SECONDS:
        cause = DelayCause.DISABLED
    elif overdue >= OVERDUE_SECONDS or _at(waited, 0.95) >= SLOW_SECONDS:
        cause = _cause_of_waits(posts, is_healthy=is_healthy, max_posts=max_posts)
    elif not posts:
        cause = DelayCause.UNKNOWN
    else:
        cause = DelayCause.ANSWERS if _at(answered, 0.95) >= SLOW_SECONDS else DelayCause.NONE
    return DelayJudgement(
        cause, len(posts), _at(waited, 0.5), _at(waited, 0.95), _at(answered, 0.5), _at(answered, 0.95)
    )


def _cause_of_waits(posts: Sequence[FirstPost], *, is_healthy: bool, max_posts: int) -> DelayCause:
    failed = sum(post.is_failed for post in posts)
    if not is_healthy or failed > MIN_FAILED_FRACTION * len(posts):
        return DelayCause.FAILURES
    late = [post for post in posts if post.waited >= SLOW_SECONDS]
    if late and sum(_under_way(post, posts) for post in late) >= len(late) * max_posts / 2:
        return DelayCause.QUEUE
    return DelayCause.DISPATCHERS


def _at(values: Sequence[float], fraction: float) -> float:
    """Return the least of the sorted values that this fraction does not exceed; 0 of none."""
    return values[min(len(values) - 1, int(fraction * len(values)))] if values else 0.0


def _under_way(waiting: FirstPost, posts: Sequence[FirstPost]) -> float:
    """Return how many of the other POSTs were under way on average while this one waited."""
    overlaps = (
        (min(post.answered_at, waiting.sent_at) - max(post.sent_at, waiting.recorded_at)).total_seconds()
        for post in posts
        if post is not waiting
    )
    return sum(max(0.0, seconds) for seconds in overlaps) / waiting.waited
