"""Activity: what was recorded and sent in short intervals, as counts; bounds of its histograms and its grains."""

from dataclasses import dataclass
from enum import StrEnum

LATENCY_BOUNDS_SECONDS = (
    0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0, 3600.0, 86400.0,
)  # fmt: skip
"""Where a bucket of a histogram ends and the next one begins. The last bucket has no end."""

BUCKETS = len(LATENCY_BOUNDS_SECONDS) + 1
"""Buckets of a histogram, a number of deliveries or attempts each."""

SETTLE_LAG_SECONDS = 90.0
"""Age at which a row is counted: by then the transaction that writes it has ended.

A statement ends after 30 s. Two of them, one after the other, decide in which order messages become visible.
"""

SLICE_SECONDS = 300.0
"""Time that one step of the rollup covers at most, so that catching up takes many small steps."""

PARTNER_GRAIN_SECONDS = 300
"""Interval of a row of a partner when it is written."""
PROVIDER_GRAIN_SECONDS = 60
"""Interval of a row of a provider when it is written. Those of all providers add up to the installation."""
IDLER_GRAIN_SECONDS = 300
"""Interval between samples of the sessions of idlers."""

HOUR_SECONDS, DAY_SECONDS = 3600, 86400

IDLER_DAYS = 2.0
"""Days for which samples of idlers are kept."""
ACTIVITY_DAYS = 90.0
"""Days for which activity is kept at all."""

ALL_IDLERS = 0
"""`idler_id` of the sum over all idlers."""


@dataclass(frozen=True, slots=True)
class Coarsening:
    """After `days`, rows of `fine` seconds are added up to rows of `coarse` seconds."""

    fine: int
    coarse: int
    days: float


PARTNER_COARSENINGS = (
    Coarsening(PARTNER_GRAIN_SECONDS, HOUR_SECONDS, 2.0),
    Coarsening(HOUR_SECONDS, DAY_SECONDS, 14.0),
)
PROVIDER_COARSENINGS = (
    Coarsening(PROVIDER_GRAIN_SECONDS, HOUR_SECONDS, 2.0),
    Coarsening(HOUR_SECONDS, DAY_SECONDS, 14.0),
)


class ActivitySource(StrEnum):
    """The tables whose rows are counted. Each has its own mark of how far that has been done."""

    MESSAGES = "messages"
    DELIVERIES = "deliveries"
    ATTEMPTS = "attempts"
    EVENTS = "events"


@dataclass(slots=True)
class ActivityCounts:
    """Counts of an interval.

    `mails` were recorded, `skipped` of them without a webhook. `delivered`, `failed` and `cancelled` are webhooks
    that ended. `accepted`, `refused` and `unanswered` are POSTs by their answer: 2xx, another one, none;
    `unsent` are attempts that failed before the POST. `refusals` and `silences` are mailboxes that have to sign in
    again, or whose server fell silent.
    """

    mails: int = 0
    skipped: int = 0
    delivered: int = 0
    failed: int = 0
    cancelled: int = 0
    accepted: int = 0
    refused: int = 0
    unanswered: int = 0
    unsent: int = 0
    refusals: int = 0
    silences: int = 0
