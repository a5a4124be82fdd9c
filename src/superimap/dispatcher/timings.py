"""Intervals and grace periods of a dispatcher that are not settings."""

from dataclasses import dataclass

from superimap.domain.activity import SETTLE_LAG_SECONDS


@dataclass(frozen=True, slots=True)
class DispatcherTimings:
    """All values are seconds. Tests use shorter ones."""

    lane_budget: float = 20.0  # then a lane rings its own doorbell and yields its slot
    lease_margin: float = 10.0  # by which a lease outlives the deadline of its POST
    sweep_interval: float = 1.0
    absence_limit: float = 5.0  # then an absent dispatcher loses its leases; a living one reconnects sooner
    late_after: float = 3.0  # overdue by more: the job that should have woken a lane is skipped
    cluster_metrics_interval: float = 15.0
    activity_interval: float = 60.0  # of counting mails and webhooks for charts
    activity_lag: float = SETTLE_LAG_SECONDS  # before a row is counted
    trace_gathering: float = 1.0  # of settled deliveries, before their traces are exported
    purge_interval: float = 3600.0
    merge_interval: float = 60.0  # of the sums of users
    stall_check_interval: float = 30.0  # and of the survey of users
    stall_check_delay: float = 150.0  # before the first check, so that idlers can write proofs of life
    lane_grace: float = 5.0  # at a stop, for lanes to end
    post_grace: float = 18.0  # after that, for POSTs in flight and their recording
