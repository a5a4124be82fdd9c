"""Where the time of webhooks goes: before the mail is recorded, before the POST, or until the answer. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from superimap.domain.mail_stages import MAX_PROVIDER_SECONDS

SLOW_SECONDS = 1.0
"""A webhook that waits, or whose answer takes, this long is slow."""
OVERDUE_SECONDS = 5.0
"""The wait of a webhook that is due and not sent, above which webhooks are late whatever the last POSTs were."""
LATE_RECORD_SECONDS = 30.0
"""Time from a mail's receipt by its mail server to its record, above which it is late; polling takes 20 s."""
MIN_FAILED_FRACTION = 0.1
"""Share of failed first attempts above which the waits of the others are put down to the circuit breaker."""
MAX_KEPT_UP_FRACTION = 2 / 3
"""Arrivals per POST below which a receiver that answers quickly keeps up: its backlog has another cause."""


class DelayCause(StrEnum):
    """Why webhooks of an endpoint are slow."""

    UNKNOWN = "unknown"  # no webhook was sent lately
    NONE = "none"  # nothing is slow
    RECORD = "record"  # mails are recorded late: their mailboxes are not watched, or the provider is late
    ANSWERS = "answers"  # the receiver takes long to answer
    QUEUE = "queue"  # the receiver takes so long that its answers hold up the following webhooks
    FAILURES = "failures"  # the receiver fails, so that the circuit breaker holds webhooks back
    DISABLED = "disabled"  # the endpoint is disabled, and webhooks wait until somebody enables it
    DISPATCHERS = "dispatchers"  # we send late


@dataclass(frozen=True, slots=True)
class FirstPost:
    """The first attempt of a delivery. `is_failed`: no answer, a 5xx or a 429. `is_refused`: another 3xx or 4xx.

    `received_at` is the mail server's date of the mail, a whole second; None if there is no mail, or if it was
    found by a sweep of the history.
    """

    recorded_at: datetime
    sent_at: datetime
    milliseconds: int
    is_failed: bool
    received_at: datetime | None = None
    is_refused: bool = False

    @property
    def unrecorded(self) -> float | None:
        """Seconds from the receipt of the mail to its record; None if unknown, or if the mail was imported."""
        if self.received_at is None:
            return None
        seconds = (self.recorded_at - self.received_at).total_seconds()
        return max(0.0, seconds) if seconds < MAX_PROVIDER_SECONDS else None

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
    """The cause, and the seconds that half and 95 % of the POSTs waited at most, and were under way at most.

    The same of `mails`, from their receipt to their record. `refused` of the `count` POSTs were refused.
    """

    cause: DelayCause
    count: int = 0
    waited_half: float = 0.0
    waited_most: float = 0.0
    answered_half: float = 0.0
    answered_most: float = 0.0
    mails: int = 0
    unrecorded_half: float = 0.0
    unrecorded_most: float = 0.0
    refused: int = 0


def judge_delays(
    posts: Sequence[FirstPost],
    *,
    is_healthy: bool,
    max_posts: int,
    is_whole: bool = True,
    overdue: float = 0.0,
    in_flight: int = 0,
    is_disabled: bool = False,
) -> DelayJudgement:
    """Judge the latest POSTs of an endpoint, which sends at most `max_posts` at once.

    `is_whole`: the endpoint has had no other POSTs. `overdue`: seconds for which the first webhook that is not
    being sent has been due. `in_flight`: POSTs that have no answer yet. `is_disabled`: nothing is sent until
    somebody enables the endpoint.
    """
    waited = sorted(post.waited for post in posts)
    answered = sorted(post.milliseconds / 1000 for post in posts)
    unrecorded = sorted(seconds for post in posts if (seconds := post.unrecorded) is not None)
    if is_disabled and overdue >= OVERDUE_SECONDS:
        cause = DelayCause.DISABLED
    elif overdue >= OVERDUE_SECONDS and is_healthy and in_flight >= max_posts:
        cause = DelayCause.QUEUE
    elif overdue >= OVERDUE_SECONDS or _at(waited, 0.95) >= SLOW_SECONDS:
        cause = _cause_of_waits(posts, is_healthy=is_healthy, max_posts=max_posts, is_whole=is_whole)
    elif not posts:
        cause = DelayCause.UNKNOWN
    elif _at(answered, 0.95) >= SLOW_SECONDS:
        cause = DelayCause.ANSWERS
    else:
        cause = DelayCause.RECORD if _at(unrecorded, 0.95) >= LATE_RECORD_SECONDS else DelayCause.NONE
    return DelayJudgement(
        cause, len(posts), *_half_and_most(waited), *_half_and_most(answered), len(unrecorded),
        *_half_and_most(unrecorded), sum(post.is_refused for post in posts),
    )  # fmt: skip


def _cause_of_waits(
    posts: Sequence[FirstPost], *, is_healthy: bool, max_posts: int, is_whole: bool
) -> DelayCause:
    failed = sum(post.is_failed for post in posts)
    if not is_healthy or failed > MIN_FAILED_FRACTION * len(posts):
        return DelayCause.FAILURES
    late = [post for post in posts if post.waited >= SLOW_SECONDS]
    # What was under way before the first POST is not known if there were earlier ones.
    known_since = None if is_whole or not posts else min(post.sent_at for post in posts)
    under_way = seconds = 0.0
    for post in late:
        begin = post.recorded_at if known_since is None else max(post.recorded_at, known_since)
        under_way += _seconds_under_way(post, posts, begin)
        seconds += max(0.0, (post.sent_at - begin).total_seconds())
    # Of very many at once, the sample holds some only.
    at_once = max_posts if is_whole else min(max_posts, len(posts) / 2)
    if not seconds or under_way < seconds * at_once / 2:
        return DelayCause.DISPATCHERS
    begins_unseen = known_since is not None and all(post.recorded_at < known_since for post in late)
    return DelayCause.DISPATCHERS if begins_unseen and _keeps_up(late) else DelayCause.QUEUE


def _keeps_up(late: Sequence[FirstPost]) -> bool:
    """Return whether the receiver answers quickly, and takes webhooks faster than they come.

    Such a receiver is busy after an outage of ours as well, until the backlog of that outage is sent.
    """
    half = len(late) // 2
    if not half or sorted(post.milliseconds for post in late)[half] >= SLOW_SECONDS * 1000:
        return False
    recorded, sent = sorted(post.recorded_at for post in late), sorted(post.sent_at for post in late)
    # The shortest time in which half of them came: some that came slowly after a burst do not hide it.
    coming, sending = (
        min(end - begin for begin, end in zip(times, times[half:], strict=False))
        for times in (recorded, sent)
    )
    return sending < MAX_KEPT_UP_FRACTION * coming


def _half_and_most(values: Sequence[float]) -> tuple[float, float]:
    return _at(values, 0.5), _at(values, 0.95)


def _at(values: Sequence[float], fraction: float) -> float:
    """Return the least of the sorted values that this fraction does not exceed; 0 of none."""
    return values[min(len(values) - 1, int(fraction * len(values)))] if values else 0.0


def _seconds_under_way(waiting: FirstPost, posts: Sequence[FirstPost], begin: datetime) -> float:
    """Return how long the other POSTs were under way, in sum, from `begin` until this one was sent."""
    overlaps = (
        (min(post.answered_at, waiting.sent_at) - max(post.sent_at, begin)).total_seconds()
        for post in posts
        if post is not waiting
    )
    return sum(max(0.0, seconds) for seconds in overlaps)
