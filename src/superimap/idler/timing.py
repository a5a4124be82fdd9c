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
    # A catch-up that takes longer is told as a status.
    lag: float = 2.0
    # Proofs of life are written together, so often.
    prove: float = 60.0
    # Where there is no IDLE the server is asked so often, unless the provider's row says otherwise.
    poll: float = 60.0
