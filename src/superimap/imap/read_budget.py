"""Read budget: the share of the event loop's time that handling one peer's bytes may take.

A peer can flood a session with bytes, or with short lines that are costly to handle. A peer that exceeds its
share is not read until the excess has evened out; meanwhile TCP flow control holds it back.

A connection has a share of its own. Connections that one stranger could open in any number have a share together
as well: a `LoopShare`. Nothing here reads a clock.
"""

from collections.abc import Iterable

MAX_READ_BYTES = 16 * 1024
"""Bytes received at once: the largest TLS record (RFC 8446 section 5.1)."""
WORK_SHARE = 0.5
"""Share of the event loop's time in which one peer's answers are parsed."""
_LOOP_SHARE = 0.1  # of the event loop's time; at 16 KiB in 25 us that is about 60 MB/s
_MIN_PAUSE_SECONDS = 0.0025  # a shorter pause is not taken yet
_MAX_PAUSE_SECONDS = 0.1  # time in which the process was stopped or swapped out is not the peer's fault
_SLOW_READ_SECONDS = 0.00025  # a read that holds the event loop for longer halves the size of the next one
_MIN_READ_BYTES = 1024
_FIRST_READ_BYTES = 4096  # of a stranger, whose bytes may be costly to handle
_MAX_DEBT_SECONDS = 2.0  # of a group; a session in it waits no longer than this for its turn


def charge_read(
    paused_until: float, size: int, *, received: int, began: float, now: float
) -> tuple[float, int]:
    """Charge a peer for one read of at most `size` bytes; return its new `paused_until` and read size.

    The read brought `received` bytes, and was handled from `began` to `now`. Times are the event loop's, in
    seconds. At `paused_until` the time that the peer has used is down to its share.
    """
    took = now - began
    if took > _SLOW_READ_SECONDS:
        size = max(size // 2, _MIN_READ_BYTES)
    elif received == size < MAX_READ_BYTES and took < _SLOW_READ_SECONDS / 4:
        size *= 2  # a short read says nothing about a long one
    return min(max(paused_until, began) + took / _LOOP_SHARE, now + _MAX_PAUSE_SECONDS), size


def must_pause(paused_until: float, now: float) -> bool:
    """Whether the peer is so far over its share that it is not read until `paused_until`."""
    return paused_until - now >= _MIN_PAUSE_SECONDS


class LoopShare:
    """The share of the event loop's time that a group of connections may take together.

    A group in debt is served in turns: each of its connections that has something to read waits for its own turn,
    first come first served. `is_for_floods` says that only connections which exceed their own share are charged
    and wait: for a server with so many ordinary sessions that they may need most of the time.
    """

    __slots__ = ("__weakref__", "_debt_until", "_next_turn", "_share", "is_for_floods", "read_size")

    def __init__(self, share: float, *, is_for_floods: bool = False) -> None:
        self._share = share
        self.is_for_floods = is_for_floods
        self._debt_until = 0.0
        self._next_turn = 0.0
        self.read_size = MAX_READ_BYTES if is_for_floods else _FIRST_READ_BYTES
        """The read size with which a new connection of the group begins: that of the latest flood."""

    def charge(self, *, began: float, now: float, is_flood: bool = False) -> None:
        """Charge the group for time that one of its connections has taken."""
        if is_flood or not self.is_for_floods:
            debt = max(self._debt_until, began) + (now - began) / self._share
            self._debt_until = min(debt, now + _MAX_DEBT_SECONDS)

    def is_in_debt(self, now: float) -> bool:
        """Whether connections of the group have to wait for a turn."""
        return must_pause(self._debt_until, now)

    def take_turn(self, now: float) -> float:
        """Return the next moment at which nobody else of the group has a turn; at once if there is no debt."""
        if not self.is_in_debt(now):
            return now
        turn = max(self._next_turn + _SLOW_READ_SECONDS / self._share, self._debt_until)
        self._next_turn = min(turn, now + _MAX_DEBT_SECONDS)
        return self._next_turn


def first_read_size(shares: Iterable[LoopShare]) -> int:
    """Return the read size with which a connection of all these groups begins."""
    return min((share.read_size for share in shares), default=MAX_READ_BYTES)


def next_turn(shares: Iterable[LoopShare], now: float, *, is_flood: bool) -> float:
    """Return the moment at which a connection of all these groups has its turn."""
    turns = (share.take_turn(now) for share in shares if is_flood or not share.is_for_floods)
    return max(turns, default=now)
