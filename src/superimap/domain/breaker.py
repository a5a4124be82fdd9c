"""Circuit breaker of an endpoint. Pure: health, one observation and the time in; the next health out.

    closed ── 10 failures in a row, the last one FAILING ──▶ open ── a probe is answered ──▶ slow_start ──▶ closed
       └── BUSY ──▶ slow_start (half as many POSTs, after a pause)   ◀── FAILING ──┘     one more POST per success

The pause doubles with every setback until the breaker is closed again, and a single success does not close it.
An endpoint that alternates between failing and working is therefore probed as rarely as one that only fails.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from superimap.domain.answers import EndpointSignal
from superimap.domain.deliveries import EndpointHealth

FAILURES_TO_OPEN = 10
"""Failures in a row after which the breaker opens."""

FIRST_PAUSE_SECONDS = {EndpointSignal.FAILING: 5.0, EndpointSignal.BUSY: 1.0}
MAX_PAUSE_SECONDS = 300.0
DISABLE_AFTER = timedelta(days=5)
"""An endpoint without one success for so long is disabled."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one POST showed about its endpoint: its signal, and the pause in seconds that it requested.

    `setbacks` is the endpoint's number of setbacks when the delivery was claimed. If the endpoint has more by
    now, the observation is outdated: ten POSTs that time out together are one setback.
    """

    signal: EndpointSignal
    setbacks: int = 0
    pause: float = 0.0


def next_health(
    health: EndpointHealth, observation: Observation, *, now: datetime, max_posts: int
) -> EndpointHealth:
    """The endpoint's health after an observation; `max_posts` is the concurrency limit of a healthy endpoint."""
    if health.disabled_at is not None:
        return health
    if observation.signal is EndpointSignal.HEALTHY:
        return _succeeded(health, observation, max_posts)
    since = health.failing_since or now
    failed = replace(health, failures=health.failures + 1, failing_since=since)
    if observation.signal is EndpointSignal.GONE:
        return replace(failed, disabled_at=now, disabled_reason="gone")
    if failed.failures >= FAILURES_TO_OPEN and now - since >= DISABLE_AFTER:
        return replace(failed, disabled_at=now, disabled_reason="failing")
    return _failed(failed, observation, now, max_posts)


def _succeeded(health: EndpointHealth, observation: Observation, max_posts: int) -> EndpointHealth:
    recovered = replace(health, failures=0, failing_since=None)
    if health.breaker == "closed" or observation.setbacks != health.setbacks:
        return recovered
    width = 1 if health.breaker == "open" else (health.width or 1) + 1
    if width >= max_posts:
        return EndpointHealth()
    return replace(recovered, breaker="slow_start", width=width, probe_at=None)


def _failed(
    health: EndpointHealth, observation: Observation, now: datetime, max_posts: int
) -> EndpointHealth:
    if observation.setbacks != health.setbacks:  # the POST was already in flight at the last setback
        return _paused(health, now, observation.pause)
    match observation.signal, health.breaker:
        case EndpointSignal.REJECTED, "open":  # the endpoint answers again
            return replace(health, breaker="slow_start", width=1, probe_at=None)
        case EndpointSignal.BUSY, "closed" | "slow_start":
            narrowed = max(1, (health.width or max_posts) // 2)
            return _set_back(replace(health, breaker="slow_start", width=narrowed), observation, now)
        case EndpointSignal.FAILING | EndpointSignal.BUSY, "open" | "slow_start":
            return _set_back(replace(health, breaker="open", width=None, probe_at=None), observation, now)
        case EndpointSignal.FAILING, _ if health.failures >= FAILURES_TO_OPEN:
            return _set_back(replace(health, breaker="open"), observation, now)
        case _:
            return health


def _set_back(health: EndpointHealth, observation: Observation, now: datetime) -> EndpointHealth:
    """Count one setback more, and pause for a time that doubles with their number."""
    first = FIRST_PAUSE_SECONDS[observation.signal]
    pause = min(first * 2.0 ** min(health.setbacks, 16), MAX_PAUSE_SECONDS)
    return _paused(replace(health, setbacks=health.setbacks + 1), now, max(pause, observation.pause))


def _paused(health: EndpointHealth, now: datetime, seconds: float) -> EndpointHealth:
    """Send nothing for `seconds`, or until the end of an earlier pause if that is later."""
    if not seconds:
        return health
    until = now + timedelta(seconds=seconds)
    return replace(health, probe_at=max(until, health.probe_at or until))
