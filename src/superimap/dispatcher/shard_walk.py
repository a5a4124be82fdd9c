"""A walk through all shards, slice by slice, so that no step grows with the number of users."""

from superimap.domain.shards import SHARD_COUNT

SLICE_USERS = 10_000
"""Users of a slice, about."""
FIRST_SLICE_SHARDS = 128
"""Shards of the first slice, when the number of users is not known yet."""


class ShardWalk:
    """Gives the next slice of shards. A walk starts `interval` seconds after the start of the one before."""

    def __init__(self, *, interval: float) -> None:
        self._interval = interval
        self._size = FIRST_SLICE_SHARDS
        self._first = 0
        self._not_before = 0.0

    def next_slice(self, now: float) -> range | None:
        """The shards to look at, or None until the next walk."""
        if self._first == 0 and now < self._not_before:
            return None
        if self._first == 0:
            self._not_before = now + self._interval
        return range(self._first, min(self._first + self._size, SHARD_COUNT))

    def advance(self, done: range, *, users: int) -> bool:
        """Go on behind this slice, which has so many users; whether that was the end of a walk."""
        self._size = max(1, SLICE_USERS * len(done) // max(users, 1))
        self._first = done.stop % SHARD_COUNT
        return self._first == 0

    def restart(self, *, not_before: float = 0.0) -> None:
        """Start again with the first shard."""
        self._first, self._not_before = 0, not_before
