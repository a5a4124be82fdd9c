"""Jobs: long actions of operators that are carried out in batches. Kinds, states and limits."""

from datetime import timedelta
from enum import StrEnum

BATCH_ROWS = 250
"""Rows that one transaction of a job changes."""
TURN_BATCHES = 20
"""Batches after which a process turns to the job that has waited longest."""
LEASE_TIME = timedelta(seconds=30)
"""Time without a batch after which another process may continue a job; more than a batch may take."""
MAX_COUNTED_ROWS = 10_000
"""Rows of a plan that are counted at most."""
MAX_UNCONFIRMED_ROWS = 1_000
"""Rows up to which a job needs no confirmed identity."""
HISTORY_TIME = timedelta(days=365)
"""Time for which finished jobs are listed."""
MAX_PORTAL_HISTORY_ROWS = 100
"""Finished jobs of a partner's portal that are listed; older ones are only in the audit log."""


class JobKind(StrEnum):
    """What a job does."""

    REPLAY_DELIVERIES = "replay_deliveries"  # failed or cancelled webhooks are sent again
    CANCEL_DELIVERIES = "cancel_deliveries"  # webhooks that wait are not sent
    ARCHIVE_USERS = "archive_users"  # the users of a connection are no longer watched


class JobState(StrEnum):
    """State of a job. It ends as done, as cancelled by a person, or as failed by an error."""

    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"
