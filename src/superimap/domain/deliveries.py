"""Deliveries and endpoints: states, circuit breaker, health, and the result of one attempt."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class DeliveryState(StrEnum):
    """pending -> sending -> delivered, or back to pending, or failed; cancelled where there is no URL."""

    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Breaker(StrEnum):
    """closed: as many POSTs at once as may be; open: one probe at a time; slow_start: `width` at once."""

    CLOSED = "closed"
    OPEN = "open"
    SLOW_START = "slow_start"


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """The columns of an endpoint of the same names: see its model. The default is that of a new endpoint."""

    failures: int = 0
    failing_since: datetime | None = None
    breaker: str = "closed"
    width: int | None = None
    setbacks: int = 0
    probe_at: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None


WELL = EndpointHealth()
