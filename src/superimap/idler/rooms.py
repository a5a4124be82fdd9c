"""Memory of connections: what each holds is covered by its reservation, or counts in a pool of a fixed size.

A session reserves room for a mail before it reads it, and waits for that room (`limits.ByteLimits`). Whatever else
its server sends is not waited for: up to UNRESERVED_BYTES are in the pool, more in the byte limits of its host if
these have room, else in the pool too. A literal that is announced and has no room ends the connection.
"""

from collections import defaultdict
from collections.abc import Callable

from superimap.idler.limits import HostByteLimit
from superimap.imap.errors import LimitExceeded

POOL_BYTES = 32 * 1024 * 1024
"""Bytes that all connections together may hold without a reservation."""
UNRESERVED_BYTES = 64 * 1024
"""Bytes of them that one connection may hold, beside its search results."""
_SLACK_BYTES = 4096  # of a reservation, for what surrounds a mail


class RoomPool:
    """Bytes held without a reservation, by host. When they exceed the pool, the connection that holds most ends.

    That is the largest of the host that holds most: a host that floods many connections loses them before another
    host loses one. Servers that people named get half of the pool.
    """

    def __init__(self, size: int = POOL_BYTES) -> None:
        self._size = size
        self._held: dict[str, dict[SessionRoom, int]] = defaultdict(dict)
        self._host_bytes: dict[str, int] = defaultdict(int)
        self._bytes = self._named_bytes = 0

    @property
    def held_bytes(self) -> int:
        """The bytes held at present."""
        return self._bytes

    def resize(self, room: "SessionRoom", size: int) -> None:
        """Let `room` hold `size` bytes; end connections until the pool suffices."""
        self._set(room, size)
        while self._bytes > self._size:
            self._end_largest(named_only=False)
        while self._named_bytes > self._size // 2:
            self._end_largest(named_only=True)

    def _set(self, room: "SessionRoom", size: int) -> None:
        rooms = self._held[room.host]
        change = size - rooms.pop(room, 0)
        if size:
            rooms[room] = size
        self._bytes += change
        self._named_bytes += change if room.is_named else 0
        self._host_bytes[room.host] += change
        if not rooms:
            del self._held[room.host], self._host_bytes[room.host]

    def _end_largest(self, *, named_only: bool) -> None:
        hosts = [
            host
            for host, rooms in self._held.items()
            if not named_only or any(room.is_named for room in rooms)
        ]
        rooms = self._held[max(hosts, key=self._host_bytes.__getitem__)]
        largest = max((room for room in rooms if room.is_named or not named_only), key=rooms.__getitem__)
        self._set(largest, 0)
        largest.end()


class SessionRoom:
    """The memory of one connection (an `imap.peer.Room`), and its reservation for the mails of a batch."""

    __slots__ = ("_covered", "_end", "_excess", "_limit", "_pool", "_pooled", "host", "is_named")

    def __init__(self, pool: RoomPool, limit: HostByteLimit, host: str, *, is_named: bool) -> None:
        self.host = host
        self.is_named = is_named
        self._pool = pool
        self._limit = limit
        self._covered = 0  # bytes that the latest reservation covers
        self._excess = 0  # bytes taken from the limit without a reservation
        self._pooled = 0
        self._end: Callable[[LimitExceeded], None] | None = None

    def has_room(self, size: int) -> bool:
        """Return whether `acquire` would admit `size` bytes without waiting."""
        return self._limit.has_room(size)

    async def acquire(self, size: int) -> int:
        """Wait for room for a mail of `size` bytes; return the number of bytes to pass to `release`."""
        held = await self._limit.acquire(size)
        self._covered = size + _SLACK_BYTES
        return held

    def release(self, held: int) -> None:
        """Give back reservations of `held` bytes in total: all there are."""
        self._covered = 0
        if held:
            self._limit.release(held)

    def open(self, end: Callable[[LimitExceeded], None]) -> None:
        """Begin to serve a connection, which `end` ends."""
        self._end = end

    def close(self) -> None:
        """Let go of the connection: the room outlives it, and would keep alive all that belongs to it."""
        self._end = None

    def hold(self, size: int, *, results: int = 0, announced: int | None = None) -> None:
        """Account for `size` bytes of input and `results` bytes of search results from now on.

        Raises LimitExceeded if there is no room for a literal that is `announced`.
        """
        uncovered = max(0, size - self._covered)
        if not self._take(max(0, uncovered - UNRESERVED_BYTES)) and announced is not None:
            raise LimitExceeded("a literal that BYTES_IN_FLIGHT has no room for at present", announced)
        pooled = uncovered - self._excess + results
        if pooled != self._pooled:
            self._pooled = pooled
            self._pool.resize(self, pooled)

    def _take(self, excess: int) -> bool:
        """Have `excess` bytes of the limit without a reservation; return False if it has no room for more."""
        if excess > self._excess and not self._limit.try_acquire(excess - self._excess):
            return False
        if excess < self._excess:
            self._limit.release(self._excess - excess)
        self._excess = excess
        return True

    def end(self) -> None:
        """End the connection, because others need its memory."""
        self._pooled = 0
        if self._end is not None:
            self._end(LimitExceeded("the connection held most of the memory that all connections share"))
