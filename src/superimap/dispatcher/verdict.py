"""What does an answer mean for its delivery? Pure: status, attempt and chance in, a verdict out."""

from dataclasses import dataclass
from typing import TypeAlias

SCHEDULE = tuple(n**4 + 5 for n in range(1, 17))
"""Seconds after the nth failure: 6, 21, 86, 261, 630, …: 17 attempts within 68 hours."""

EXACT = 5  # so many of them are kept to the second, as the wire promises
JITTER = 0.1


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


def verdict(status: int | None, *, attempt: int, chance: float) -> Verdict:
    """Judge the answer to attempt number `attempt` (from 1); `status` is None if there was no answer.

    `chance` in [0, 1) spreads the later retries by ±10 %.
    """
    match status:
        case int() if 200 <= status <= 299:
            return Delivered()
        case 403:
            return ArchiveUser()
        case _ if attempt <= EXACT:
            return RetryIn(SCHEDULE[max(attempt, 1) - 1])
        case _ if attempt <= len(SCHEDULE):
            return RetryIn(SCHEDULE[attempt - 1] * (1 - JITTER + 2 * JITTER * chance))
        case _:
            return GiveUp()
