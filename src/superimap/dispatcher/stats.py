"""What has this dispatcher done? Counters for metrics."""

from dataclasses import dataclass


@dataclass(slots=True)
class Stats:
    """Attempts by what came of them since the start, and what is under way now."""

    delivered: int = 0
    retried: int = 0
    failed: int = 0
    archived: int = 0
    in_flight: int = 0
    lanes: int = 0
    unrecorded: int = 0  # attempts whose outcome was lost with the database
