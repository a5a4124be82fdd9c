"""Deliveries and endpoints: states, circuit breaker, health, and the outcome of one attempt."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class DeliveryState(StrEnum):
    """State of a delivery: pending, sending, then delivered, failed, or pending again.

    A delivery to an endpoint without a URL becomes cancelled. A delivery that is being sent is stored as pending,
    with a lease beside it.
    """

    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AttemptOutcome(StrEnum):
    """What an attempt means for its delivery. ARCHIVE: the delivery fails, and the user is archived."""

    DELIVERED = "delivered"
    RETRY = "retry"
    FAILED = "failed"
    ARCHIVE = "archive"


class Breaker(StrEnum):
    """State of an endpoint's circuit breaker.

    closed: POSTs up to the concurrency limit. open: one probe at a time. slow_start: at most `width` POSTs in
    flight.
    """

    CLOSED = "closed"
    OPEN = "open"
    SLOW_START = "slow_start"


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """The columns of an endpoint that have these names; see the model. The default is a new endpoint's health."""

    failures: int = 0
    failing_since: datetime | None = None
    breaker: str = "closed"
    width: int | None = None
    setbacks: int = 0
    probe_at: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None


HEALTHY = EndpointHealth()
