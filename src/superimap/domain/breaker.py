"""How much may be sent to an endpoint that fails? Pure: its health, a sign and the time in; its health out.

    closed ──10 failures in a row, the last one ill──▶ open ──a probe is answered──▶ slow_start ──▶ closed
       └──busy──▶ slow_start (half at once, after a pause)      ◀──ill──┘     one more at once by each success

Pauses double with every setback until the breaker is closed again, and a single success does not close it. So an
endpoint that takes turns in failing and working is probed as rarely as one that only fails.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from superimap.domain.answers import EndpointSignal
from superimap.domain.deliveries import EndpointHealth

FAILURES_TO_OPEN = 10
"""In a row; with the last of them the breaker opens."""

FIRST_PAUSE_SECONDS = {EndpointSignal.ILL: 5.0, EndpointSignal.BUSY: 1.0}
MAX_PAUSE_SECONDS = 300.0
DISABLE_AFTER = timedelta(days=5)
"""After so long without one success an endpoint is disabled."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A POST has ended with `sign`, and asks for `wait` seconds of rest.

    `setbacks` were those of the endpoint when this POST was claimed. If there were more since then, it tells
    nothing new: ten POSTs that hang together are one setback.
    """

    sign: EndpointSignal
    setbacks: int = 0
    wait: float = 0.0


def next_health(health: EndpointHealth, event: Observation, *, now: datetime, cap: int) -> EndpointHealth:
    """The endpoint's health after this event; `cap` is how many POSTs at once it may have when well."""
    if health.disabled_at is not None:
        return health
    if event.sign is EndpointSignal.WELL:
        return _succeeded(health, event, cap)
    since = health.failing_since or now
    failed = replace(health, failures=health.failures + 1, failing_since=since)
    if event.sign is EndpointSignal.GONE:
        return replace(failed, disabled_at=now, disabled_reason="gone")
    if failed.failures >= FAILURES_TO_OPEN and now - since >= DISABLE_AFTER:
        return replace(failed, disabled_at=now, disabled_reason="failing")
    return _failed(failed, event, now, cap)


def _succeeded(health: EndpointHealth, event: Observation, cap: int) -> EndpointHealth:
    well = replace(health, failures=0, failing_since=None)
    if health.breaker == "closed" or event.setbacks != health.setbacks:
        return well
    width = 1 if health.breaker == "open" else (health.width or 1) + 1
    if width >= cap:
        return EndpointHealth()
    return replace(well, breaker="slow_start", width=width, probe_at=None)


def _failed(health: EndpointHealth, event: Observation, now: datetime, cap: int) -> EndpointHealth:
    if event.setbacks != health.setbacks:  # it was under way when the last setback came
        return _resting(health, now, event.wait)
    match event.sign, health.breaker:
        case EndpointSignal.ODD, "open":  # somebody answers there
            return replace(health, breaker="slow_start", width=1, probe_at=None)
        case EndpointSignal.BUSY, "closed" | "slow_start":
            narrowed = max(1, (health.width or cap) // 2)
            return _set_back(replace(health, breaker="slow_start", width=narrowed), event, now)
        case EndpointSignal.ILL | EndpointSignal.BUSY, "open" | "slow_start":
            return _set_back(replace(health, breaker="open", width=None, probe_at=None), event, now)
        case EndpointSignal.ILL, _ if health.failures >= FAILURES_TO_OPEN:
            return _set_back(replace(health, breaker="open"), event, now)
        case _:
            return health


def _set_back(health: EndpointHealth, event: Observation, now: datetime) -> EndpointHealth:
    """One setback more, and a pause by their number."""
    pause = min(FIRST_PAUSE_SECONDS[event.sign] * 2.0 ** min(health.setbacks, 16), MAX_PAUSE_SECONDS)
    return _resting(replace(health, setbacks=health.setbacks + 1), now, max(pause, event.wait))


def _resting(health: EndpointHealth, now: datetime, seconds: float) -> EndpointHealth:
    """Nothing is sent for so many seconds, or as long as was decided before."""
    if not seconds:
        return health
    until = now + timedelta(seconds=seconds)
    return replace(health, probe_at=max(until, health.probe_at or until))
