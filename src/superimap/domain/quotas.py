"""Quotas of a partner: what is limited, and the defaults."""

import time
from collections.abc import Callable, Mapping
from enum import StrEnum


class Quota(StrEnum):
    """What a partner has a quota of."""

    USERS = "users"  # users that are not archived
    SESSIONS = "sessions"  # of these, users with complete credentials: each has a session
    BACKLOG_ROWS = "backlog_rows"  # webhooks that are to be sent
    BACKLOG_BYTES = "backlog_bytes"  # their encrypted content
    REQUESTS_PER_SECOND = "requests_per_second"  # of the API, in each of its processes


DEFAULT_QUOTAS: Mapping[Quota, int] = {
    Quota.USERS: 100_000,
    Quota.SESSIONS: 100_000,
    Quota.BACKLOG_ROWS: 1_000_000,
    Quota.BACKLOG_BYTES: 20 * 1024**3,
    Quota.REQUESTS_PER_SECOND: 200,
}
"""Defaults of the settings QUOTA_…"""

REFUSED_SECONDS = 1.0
"""Time in which users are not counted again for a partner that has used up its quota."""

BURST_SECONDS = 10
"""Requests of this many seconds may come at once after a pause."""


class RequestBuckets:
    """Token buckets by partner. Time is passed in as seconds of a monotonic clock."""

    def __init__(self, *, max_partners: int = 10_000) -> None:
        self._max_partners = max_partners
        self._full_at: dict[int, float] = {}

    def take(self, partner_id: int, *, per_second: int, now: float) -> float:
        """Take one request; return 0.0, or the seconds after which the next one is granted."""
        full_at = max(self._full_at.get(partner_id, now), now) + 1 / per_second
        wait = full_at - now - BURST_SECONDS
        if wait > 0:
            return wait
        if len(self._full_at) >= self._max_partners:
            self._full_at = {known: at for known, at in self._full_at.items() if at > now}
        self._full_at[partner_id] = full_at
        return 0.0

    def charge(self, partner_id: int, count: int, *, per_second: int, now: float) -> None:
        """Take `count` more requests after one was granted, also if that many are not left."""
        if count:
            self._full_at[partner_id] = max(self._full_at.get(partner_id, now), now) + count / per_second


class RecentRefusals:
    """Quotas of partners that were found to be used up within the last second."""

    def __init__(self, *, max_entries: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_entries = max_entries
        self._clock = clock
        self._found: dict[tuple[int, Quota], tuple[float, int]] = {}

    def note(self, partner_id: int, quota: Quota, maximum: int) -> None:
        """Remember that live users were counted, and are as many as the quota allows."""
        if len(self._found) >= self._max_entries:
            self._found.clear()
        self._found[partner_id, quota] = (self._clock() + REFUSED_SECONDS, maximum)

    def has(self, partner_id: int, quota: Quota, maximum: int) -> bool:
        """Whether the same quota was found to be used up within the last second."""
        until, noted = self._found.get((partner_id, quota), (0.0, 0))
        return noted == maximum and self._clock() < until
