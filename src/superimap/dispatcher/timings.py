"""How long may things take here? The seconds that are no settings; tests run on a faster clock."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DispatcherTimings:
    """Seconds, all of them."""

    lane_budget: float = 20.0  # then a lane rings itself and lets another endpoint have its seat
    lease_margin: float = 10.0  # by which a lease outlives the deadline of its POST
    sweep: float = 1.0
    gone: float = (
        5.0  # absent by this: a dispatcher's leases are let go; one that lives connects again sooner
    )
    late: float = 3.0  # overdue by this: what should have rung is passed by
    look: float = 15.0  # between two looks at the cluster, for metrics
    purge: float = 3600.0
    stalls: float = 30.0  # between looks for users whose mail server is silent
    hearing: float = 150.0  # before the first such look: until then idlers have written what they heard
    post_grace: float = 18.0  # at a stop, for POSTs under way
    settle_grace: float = 5.0  # and then for recording them
