"""Sets of UIDs as ranges: what a server claims takes memory by its text, not by the UIDs that it represents."""

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

from superimap.imap.errors import LimitExceeded, ProtocolError
from superimap.imap.framing import Response
from superimap.imap.statuses import UID_MAX, parse_number

MAX_RANGES = 1_000_000
"""Ranges in the answer to one search; each takes 16 bytes. A mailbox of a million mails with gaps has fewer."""
_MAX_UNSORTED_RANGES = 100_000  # to sort one takes ten times as much memory for a moment
_SLICE_BYTES = 16 * 1024  # of a response, read without a break: some 0.3 ms
_RANGE_BYTES = 16
_ALL = re.compile(rb" ALL ", re.IGNORECASE)


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

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __len__(self) -> int:
        return sum(self._ends) - sum(self._firsts)

    def __iter__(self) -> Iterator[int]:
        for first, end in zip(self._firsts, self._ends, strict=True):
            yield from range(first, end)

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


class _Collector:
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


class SearchAnswer:
    """The UIDs of all SEARCH and ESEARCH (RFC 4731) responses to one command."""

    def __init__(self) -> None:
        self._collector = _Collector()
        self.unusable = 0
        """How many UIDs and ranges reached above the largest UID that can be recorded."""

    def read(self, response: Response) -> Iterator[None]:
        """Read a response, with a break wherever other sessions may run. Raises ProtocolError, LimitExceeded."""
        line = response.line
        if b"ESEARCH" not in line[:12].upper():
            return self._read_numbers(line)
        return self._read_set(line)

    def result(self) -> UidRanges:
        """Return the UIDs. Raises LimitExceeded."""
        return self._collector.result()

    def _read_numbers(self, line: bytes) -> Iterator[None]:
        start, stop = line[:12].upper().find(b"SEARCH") + 6, line.find(b"(")
        for piece in _pieces(line, start, len(line) if stop < 0 else stop, b" "):
            for word in piece.split():
                if word.isdigit() and (uid := _number(word)):
                    self._add(uid, uid)
            yield

    def _read_set(self, line: bytes) -> Iterator[None]:
        if (found := _ALL.search(line)) is None:
            return
        stop = line.find(b" ", found.end())
        for piece in _pieces(line, found.end(), len(line) if stop < 0 else stop, b","):
            for part in piece.removeprefix(b",").split(b","):
                first, _, last = part.partition(b":")
                if not first.isdigit() or not (last or first).isdigit():
                    raise ProtocolError("an invalid set in an ESEARCH response")
                low, high = sorted((_number(first), _number(last or first)))
                if low == 0:
                    raise ProtocolError("an invalid set in an ESEARCH response")
                self._add(low, high)
            yield

    def _add(self, low: int, high: int) -> None:
        if high > UID_MAX:
            self.unusable += 1
        if low <= UID_MAX:
            self._collector.add(low, min(high, UID_MAX))


def _number(digits: bytes) -> int:
    if len(digits) < 19:
        return int(digits)
    number = parse_number(digits)
    return UID_MAX + 1 if number is None else number


def found_uids(responses: Iterable[Response]) -> UidRanges:
    """Return the UIDs of all responses to one search. Raises ProtocolError, LimitExceeded."""
    answer = SearchAnswer()
    for response in responses:
        for _ in answer.read(response):
            pass
    return answer.result()


def _pieces(line: bytes, start: int, stop: int, separator: bytes) -> Iterator[bytes]:
    """Yield `line[start:stop]` in pieces of about a slice, cut at a separator."""
    while start < stop:
        end = line.find(separator, min(start + _SLICE_BYTES, stop), stop)
        end = stop if end < 0 else end
        yield line[start:end]
        start = end
