"""What does an answer mean? Pure: status, attempt, `Retry-After` and chance in; a verdict and a sign out.

The verdict is about the delivery. The sign is about its endpoint, for the breaker.
"""

import math
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TypeAlias

RETRY_SCHEDULE_SECONDS = tuple(n**4 + 5 for n in range(1, 17))
"""Seconds after the nth failure: 6, 21, 86, 261, 630, …: 17 attempts within 68 hours."""

EXACT_RETRIES = 5  # so many of them are kept to the second, as the wire promises
JITTER_FRACTION = 0.1
MAX_RETRY_AFTER_SECONDS = 3600.0
"""Seconds that a `Retry-After` can put things off: nobody puts webhooks off for years by a slip."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """Any 2xx."""


@dataclass(frozen=True, slots=True)
class ArchiveUser:
    """403: the application does not want this user's mail any more. No retry."""


@dataclass(frozen=True, slots=True)
class RetryIn:
    """Again in so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The last attempt failed too."""


Verdict: TypeAlias = Delivered | ArchiveUser | RetryIn | GiveUp


class EndpointSignal(StrEnum):
    """What an answer tells of its endpoint."""

    WELL = "well"  # 2xx, and 403: an application that works
    ODD = "odd"  # it refuses this one delivery; others may fare better
    BUSY = "busy"  # 429, 503: less at once, please
    ILL = "ill"  # no answer, or a 5xx
    GONE = "gone"  # 410: nothing is wanted here any more


def verdict(
    status: int | None, *, attempt: int, chance: float, wait: float = 0.0, archives: bool = True
) -> Verdict:
    """Judge the answer to attempt number `attempt` (from 1); `status` is None if there was no answer.

    `archives`: a 403 says so of the user; else it is a refusal like any other.

    `chance` in [0, 1) spreads the later retries by ±10 %. `wait` is the least seconds to the next attempt, as
    `retry_after` gives them. After a 410 the delivery stays owed: its endpoint is disabled until someone
    enables it, and then it is sent.
    """
    match status:
        case int() if 200 <= status <= 299:
            return Delivered()
        case 403 if archives:
            return ArchiveUser()
        case 410:
            return RetryIn(0.0)
        case _ if attempt <= EXACT_RETRIES:
            return RetryIn(max(RETRY_SCHEDULE_SECONDS[max(attempt, 1) - 1], wait))
        case _ if attempt <= len(RETRY_SCHEDULE_SECONDS):
            return RetryIn(
                max(
                    RETRY_SCHEDULE_SECONDS[attempt - 1]
                    * (1 - JITTER_FRACTION + 2 * JITTER_FRACTION * chance),
                    wait,
                )
            )
        case _:
            return GiveUp()


def sign(status: int | None, *, archives: bool = True) -> EndpointSignal:
    """What the answer tells of the endpoint; `status` is None if there was no answer; `archives` as above."""
    match status:
        case int() if 200 <= status <= 299 or (archives and status == 403):
            return EndpointSignal.WELL
        case 410:
            return EndpointSignal.GONE
        case 429 | 503:
            return EndpointSignal.BUSY
        case int() if 300 <= status <= 499:
            return EndpointSignal.ODD
        case _:
            return EndpointSignal.ILL


def retry_after(text: str | None, *, now: float) -> float:
    """Seconds from `now` (Unix time) that a `Retry-After` asks for (RFC 9110 section 10.2.3).

    0.0 for none, nonsense or the past; never more than LONGEST_WAIT.
    """
    if text is None or len(text) > 64:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = _until(text, now)
    return 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _until(date: str, now: float) -> float:
    try:
        moment = parsedate_to_datetime(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError, TypeError, IndexError):
        return 0.0
