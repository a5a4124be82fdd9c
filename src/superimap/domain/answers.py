"""The meaning of a receiver's answer, for its delivery and for the circuit breaker of its endpoint.

`judge_answer` is the one place that decides. It is pure: time and chance are passed in.
"""

import math
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum

from superimap.domain.deliveries import AttemptOutcome

RETRY_SCHEDULE_SECONDS = tuple(n**4 + 5 for n in range(1, 17))
"""Delay after the nth failed attempt. It sets the time of the next one: `due_at`, in the API `next_attempt_at`."""

EXACT_RETRIES = 5
"""Number of first delays that are exact to the second, as docs/behaviour.md states; later ones are spread."""

JITTER_FRACTION = 0.1
"""Later delays are spread by this fraction in both directions."""

MAX_RETRY_AFTER_SECONDS = 3600.0
"""Longest pause that a `Retry-After` can request, so that no mistake delays webhooks for years."""


class LocalError(StrEnum):
    """Errors on our side. Nothing was sent, so the attempt says nothing about the endpoint."""

    UNSIGNED = "unsigned"  # the partner has no key to sign with
    UNKNOWN_KEY = "unknown_key"  # the content is encrypted with a key that this process does not have yet
    CONTENT_UNAVAILABLE = "content_unavailable"  # the object store does not hand the content over
    UNREADABLE = "unreadable"  # the content cannot be decrypted or built: no later attempt could send it


class EndpointSignal(StrEnum):
    """What an answer says about its endpoint."""

    HEALTHY = "healthy"  # 2xx, and a 403 that archives: the application works
    REJECTED = "rejected"  # 3xx, 4xx: this delivery is refused; others may succeed
    BUSY = "busy"  # 429, 503: the endpoint requests fewer POSTs
    FAILING = "failing"  # no answer, 5xx or any other status
    GONE = "gone"  # 410: the endpoint accepts no webhooks any more


@dataclass(frozen=True, slots=True)
class AnswerJudgement:
    """Everything that follows from an answer.

    `delay` is the seconds until the next attempt; it matters where `outcome` is RETRY. `signal` is None where
    nothing is known about the endpoint. `pause` is the pause in seconds that the endpoint requested.
    """

    outcome: AttemptOutcome
    delay: float
    signal: EndpointSignal | None
    pause: float = 0.0


def judge_answer(
    status: int | None,
    *,
    attempt: int,
    chance: float,
    error: str | None = None,
    retry_after: str | None = None,
    now: float = 0.0,
    archives: bool = True,
) -> AnswerJudgement:
    """Judge the answer to attempt number `attempt`, counted from 1.

    `status` is None if there was no answer; `error` then says why. `retry_after` is that header as received, and
    `now` is Unix time. `chance` in [0, 1) spreads the later retries. `archives`: whether a 403 archives the user;
    if not, it is a refusal like any other. After a 410 the delivery stays pending: its endpoint is disabled, and
    the delivery is sent once the endpoint is enabled.
    """
    pause = retry_after_seconds(retry_after, now=now)
    if status is None and is_local(error):
        return _unsent(error, attempt, chance)
    match _signal(status, archives=archives):
        case EndpointSignal.HEALTHY as signal:
            outcome = AttemptOutcome.DELIVERED if is_success(status) else AttemptOutcome.ARCHIVE
            return AnswerJudgement(outcome, 0.0, signal, pause)
        case EndpointSignal.GONE as signal:
            return AnswerJudgement(AttemptOutcome.RETRY, 0.0, signal, pause)
        case signal:
            return _failed(attempt, chance, signal, pause)


def _signal(status: int | None, *, archives: bool) -> EndpointSignal:
    match status:
        case int() if is_success(status) or (archives and status == 403):
            return EndpointSignal.HEALTHY
        case 410:
            return EndpointSignal.GONE
        case 429 | 503:
            return EndpointSignal.BUSY
        case int() if 300 <= status <= 499:
            return EndpointSignal.REJECTED
        case _:
            return EndpointSignal.FAILING


def is_local(error: str | None) -> bool:
    """Whether an error is on our side, so that nothing was sent."""
    return error in _LOCAL_ERRORS


def is_success(status: int | None) -> bool:
    """Whether an answer with this status delivers the webhook: any 2xx."""
    return status is not None and 200 <= status <= 299


def retry_delay(attempt: int, *, chance: float) -> float | None:
    """Seconds from failed attempt number `attempt` to the next one; None after the last attempt.

    A number below 1 counts as the first attempt.
    """
    if attempt > len(RETRY_SCHEDULE_SECONDS):
        return None
    delay = RETRY_SCHEDULE_SECONDS[max(attempt, 1) - 1]
    if attempt <= EXACT_RETRIES:
        return delay
    return delay * (1 - JITTER_FRACTION + 2 * JITTER_FRACTION * chance)


def retry_after_seconds(text: str | None, *, now: float) -> float:
    """Seconds from `now` (Unix time) that a `Retry-After` requests (RFC 9110 section 10.2.3).

    0.0 for a header that is absent, malformed or in the past; at most MAX_RETRY_AFTER_SECONDS.
    """
    if text is None or len(text) > 64:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = _seconds_until(text, now)
    return 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


_LOCAL_ERRORS = frozenset(LocalError)


def _unsent(error: str | None, attempt: int, chance: float) -> AnswerJudgement:
    if error == LocalError.UNREADABLE:
        return AnswerJudgement(AttemptOutcome.FAILED, 0.0, None)
    return _failed(attempt, chance, None, 0.0)


def _failed(attempt: int, chance: float, signal: EndpointSignal | None, pause: float) -> AnswerJudgement:
    """Retry by the schedule and not before the pause is over, or fail after the last attempt."""
    delay = retry_delay(attempt, chance=chance)
    if delay is None:
        return AnswerJudgement(AttemptOutcome.FAILED, 0.0, signal, pause)
    return AnswerJudgement(AttemptOutcome.RETRY, max(delay, pause), signal, pause)


def _seconds_until(date: str, now: float) -> float:
    try:
        moment = parsedate_to_datetime(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError, TypeError, IndexError):
        return 0.0
