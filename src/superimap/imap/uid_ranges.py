"""Sets of UIDs as ranges: what a server claims takes memory by its text, not by the UIDs that it represents."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from superimap.imap.errors import LimitExceeded

MAX_RANGES = 1_000_000
"""Ranges in the answer to one search; each takes 16 bytes. A mailbox of a million mails with gaps has fewer."""
_MAX_UNSORTED_RANGES = 100_000  # to sort one takes ten times as much memory for a moment
_RANGE_BYTES = 16


class UidRanges:
    """An ascending set of UIDs, equal to any collection of the same UIDs. Iteration expands it lazily."""

    __slots__ = ("_ends", "_firsts")

    def __init__(self, uids: Iterable[int] = ()) -> None:
        self._firsts, self._ends = _merged(sorted((uid, uid + 1) for uid in uids))

    @classmethod
    def of(cls, firsts: "array[int]", ends: "array[int]") -> Self:
        """Make a set of ascending ranges that do not touch; each end is the UID after the last."""
        made = cls()
        made._firsts, made._ends = firsts, ends
        return made

    @property
    def first(self) -> int:
        """The lowest UID; 0 if there is none."""
        return self._firsts[0] if self._firsts else 0

    @property
    def last(self) -> int:
        """The highest UID; 0 if there is none."""
        return self._ends[-1] - 1 if self._ends else 0

    @property
    def weight(self) -> int:
        """The memory it takes, in bytes."""
        return _RANGE_BYTES * len(self._firsts)

    def above(self, uid: int) -> "UidRanges":
        """Return the UIDs above `uid`."""
        at = bisect_right(self._ends, uid + 1)  # the first range that ends above
        firsts, ends = self._firsts[at:], self._ends[at:]
        if firsts and firsts[0] <= uid:
            firsts[0] = uid + 1
        return UidRanges.of(firsts, ends)

    def below(self, uid: int) -> "UidRanges":
        """Return the UIDs below `uid`."""
        at = bisect_left(self._firsts, uid)  # after the last range that begins below
        firsts, ends = self._firsts[:at], self._ends[:at]
        if ends and ends[-1] > uid:
            ends[-1] = uid
        return UidRanges.of(firsts, ends)

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __len__(self) -> int:
        return sum(self._ends) - sum(self._firsts)

    def __iter__(self) -> Iterator[int]:
        for first, end in zip(self._firsts, self._ends, strict=True):
            yield from range(first, end)

    def __reversed__(self) -> Iterator[int]:
        for first, end in zip(reversed(self._firsts), reversed(self._ends), strict=True):
            yield from range(end - 1, first - 1, -1)

    def __contains__(self, uid: object) -> bool:
        if not isinstance(uid, int) or (at := bisect_right(self._firsts, uid)) == 0:
            return False
        return uid < self._ends[at - 1]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, UidRanges):
            return self._firsts == other._firsts and self._ends == other._ends
        if isinstance(other, Sequence | set | frozenset):
            return len(self) == len(other) and self == UidRanges(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # compared with mutable collections

    def __repr__(self) -> str:
        pairs = list(zip(self._firsts[:10], self._ends[:10], strict=True))
        return f"<UidRanges of {len(self)}: {pairs}>"


class Collector:
    """Collects the ranges of all responses to one search under one budget."""

    def __init__(self) -> None:
        self._firsts, self._ends = array("Q"), array("Q")
        self._is_sorted = True

    def add(self, first: int, last: int) -> None:
        """Add a range. Raises LimitExceeded."""
        firsts, ends = self._firsts, self._ends
        if not ends or first > ends[-1]:
            firsts.append(first)
            ends.append(last + 1)
            if len(firsts) > MAX_RANGES:
                raise LimitExceeded(f"more than {MAX_RANGES} ranges of UIDs")
        elif first == ends[-1]:
            ends[-1] = last + 1
        elif first < firsts[-1] or last >= ends[-1]:
            self._is_sorted = False
            firsts.append(first)
            ends.append(last + 1)
            if len(firsts) > _MAX_UNSORTED_RANGES:
                raise LimitExceeded(f"more than {_MAX_UNSORTED_RANGES} ranges of UIDs, not in order")

    def result(self) -> UidRanges:
        """Return the set of all UIDs that were added."""
        if self._is_sorted:
            return UidRanges.of(self._firsts, self._ends)
        if len(self._firsts) > _MAX_UNSORTED_RANGES:
            raise LimitExceeded(f"more than {_MAX_UNSORTED_RANGES} ranges of UIDs, not in order")
        return UidRanges.of(*_merged(sorted(zip(self._firsts, self._ends, strict=True))))


def _merged(pairs: Iterable[tuple[int, int]]) -> tuple["array[int]", "array[int]"]:
    """Return ascending pairs of first and end as disjoint ranges."""
    firsts, ends = array("Q"), array("Q")
    for first, end in pairs:
        if ends and first <= ends[-1]:
            ends[-1] = max(end, ends[-1])
        else:
            firsts.append(first)
            ends.append(end)
    return firsts, ends
