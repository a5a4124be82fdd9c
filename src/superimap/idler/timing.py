"""Timing of sessions: timeouts, backoff, polling, and when a state is reported."""

import math
from dataclasses import dataclass, field

from superimap.domain.deferrals import (
    FIRST_RETRY_SECONDS,
    GIVE_UP_SECONDS,
    GONE_AFTER_SECONDS,
    LONGEST_RETRY_SECONDS,
)
from superimap.imap.types import Timeouts

LONGEST_POLL_SECONDS = 300.0
"""Longest interval of polling that a provider's setting allows."""


@dataclass(frozen=True, slots=True)
class SessionTiming:
    """Times in seconds. Tests and benchmarks shorten them; services use the defaults."""

    timeouts: Timeouts = field(default_factory=Timeouts)
    backoff_first: float = 1.0
    backoff_longest: float = 300.0
    refused_first: float = 300.0
    """First wait after a refused login. Minutes, then hours until other credentials come: never a login storm."""
    refused_longest: float = 21_600.0
    throttled: float = 60.0
    """Least wait where a server requests a pause without a figure."""
    retry_first: float = FIRST_RETRY_SECONDS
    """Longest wait before a mail that could not be read is tried again; each failure doubles it."""
    retry_longest: float = LONGEST_RETRY_SECONDS
    give_up: float = GIVE_UP_SECONDS
    """Proven time of failure after which a mail is given up."""
    gone_after: float = GONE_AFTER_SECONDS
    """Time for which a mail is denied without a proof, after which it counts as deleted."""
    settled: float = 30.0
    """Time after which a connection counts as healthy: the backoff of its next loss starts with a short wait."""
    lag: float = 2.0
    """Time after which a catch-up is reported as a status."""
    proof_interval: float = 30.0
    """Interval in which the proofs of life of all sessions are reported together."""
    longest_round: float = math.inf
    """Time after which an IDLE is renewed even if IDLE_RENEW is longer."""
    poll: float = 60.0
    """Interval in which a server without IDLE is asked, unless the provider has its own."""
    change_pause: float = 5.0
    """Least time between two looks for changes of mails that the server has announced."""
    change_wait: float = 60.0
    """Time for which a mail is absent until it counts as deleted, if other folders are watched."""
    change_doubt: float = 200.0
    """The same where the server shows no mail, or has lost most of them, without an announcement."""
