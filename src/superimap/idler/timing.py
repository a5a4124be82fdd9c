"""How long do sessions wait? For answers, before they come back, and before a refused login is tried again."""

from dataclasses import dataclass, field

from superimap.imap.types import Timeouts


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds. Tests and benchmarks shorten it; services do not."""

    timeouts: Timeouts = field(default_factory=Timeouts)
    backoff_first: float = 1.0
    backoff_longest: float = 300.0
    # A refusal that lasts must never become a login storm: minutes, then hours, until other credentials come.
    refused_first: float = 300.0
    refused_longest: float = 21_600.0
    # A server that asks for a pause without a figure means at least this.
    throttled: float = 60.0
    # A connection that stood this long was a good one: the next loss begins with a short wait again.
    settled: float = 30.0
