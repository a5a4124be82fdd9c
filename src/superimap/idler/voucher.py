"""What an idler vouches for: the places of users in its vouches, and the intervals that PostgreSQL has. No I/O."""

import os
from collections import deque
from collections.abc import Collection, Iterable
from datetime import datetime
from itertools import islice
from typing import NamedTuple

MAX_TURNS = 64
SLOTS_STEP = 1024
"""Vouches grow by so many places: 128 bytes."""
CHECK_TURNS = 10
"""Intervals in which each user is looked at once, whether the vouches count for it."""


class Interval(NamedTuple):
    """Users of whom the last vouch is that of the interval that began at `since`, by PostgreSQL's clock."""

    since: datetime
    users: set[int]


class Voucher:
    """A name for vouches, and the users for whom they count. `turns` is the number of intervals that are kept.

    The name is random, and a place is never given to another user: rows that a restored database brings back
    cannot make a vouch count for the wrong user. A voucher with too many unused places is replaced.
    """

    def __init__(self, *, turns: int) -> None:
        self.id = int.from_bytes(os.urandom(8)) >> 1
        self.trusted: set[int] = set()
        """Users for whom the next vouch counts, as far as this process knows."""
        self._slots: dict[int, int] = {}
        self._intervals: deque[Interval] = deque(maxlen=turns)
        self._turns = turns
        self._count = 0
        self._unchecked: list[int] = []

    @property
    def turn(self) -> int:
        """The number of the next interval."""
        return self._count % self._turns

    def is_worn(self, *, sessions: int) -> bool:
        """Whether most places belong to users who are no longer watched here."""
        return len(self._slots) > 2 * sessions + SLOTS_STEP

    def slot(self, user_id: int) -> int:
        """Return the place of this user."""
        return self._slots.setdefault(user_id, len(self._slots))

    def bits(self, users: Iterable[int]) -> bytes:
        """Return a bit for each place, the first one leftmost; it is set for these users."""
        slots = [self.slot(user_id) for user_id in users]
        length = -(-len(self._slots) // SLOTS_STEP) * SLOTS_STEP // 8
        bits = bytearray(length)
        for slot in slots:
            bits[slot >> 3] |= 0x80 >> (slot & 7)
        return bytes(bits)

    def leaving(self, users: Collection[int]) -> Interval | None:
        """Return the interval that the next one replaces, without `users`, for whom the next one vouches."""
        if len(self._intervals) < self._turns:
            return None
        oldest = self._intervals[0]
        return Interval(oldest.since, oldest.users.difference(users))

    def add(self, since: datetime, users: Collection[int]) -> None:
        """Note that PostgreSQL has the next interval."""
        for each in self._intervals:
            each.users.difference_update(users)
        self._intervals.append(Interval(since, set(users)))
        self._count += 1

    def next_to_check(self, limit: int) -> list[int]:
        """Return some of the trusted users, `limit` at most; all of them in CHECK_TURNS calls."""
        if not self._unchecked:
            self._unchecked = sorted(self.trusted)
        count = min(limit, -(-len(self.trusted) // CHECK_TURNS))
        chosen = list(islice(self._unchecked, count))
        del self._unchecked[:count]
        return chosen
