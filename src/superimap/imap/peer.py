"""What a connection shares with others: name lookups, memory, and the event loop's time."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from superimap.core.resolver import AddressInfo
from superimap.imap.errors import LimitExceeded
from superimap.imap.read_budget import LoopShare

LookUp = Callable[[str, int], Awaitable[Sequence[AddressInfo]]]
"""Returns the addresses of a host, for a port. Raises OSError, UnicodeError."""


class Room(Protocol):
    """Memory for what one connection holds: incomplete input, answers not parsed yet, search results."""

    def open(self, end: Callable[[LimitExceeded], None]) -> None:
        """Begin to serve a connection, which `end` ends if its memory is needed by others."""

    def hold(self, size: int, *, results: int = 0, announced: int | None = None) -> None:
        """Account for `size` bytes of input from now on, and for `results` bytes of search results.

        `announced` is the size of the literal in `size` that is not received yet. Raises LimitExceeded.
        """

    def close(self) -> None:
        """Let go of the connection, which has ended."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The shares of one connection. The default shares nothing: for a connection that nobody can multiply."""

    look_up: LookUp | None = None
    room: Room | None = None
    shares: tuple[LoopShare, ...] = ()


ALONE = Peer()
"""The peer of a connection that shares nothing."""
