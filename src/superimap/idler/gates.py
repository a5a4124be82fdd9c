"""How much at once? Bytes of mail in memory, over all sessions of an idler."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ByteGate:
    """Lets through as many bytes as there is room for; first come, first served.

    One mail larger than the whole gate passes alone.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def has_room(self, size: int) -> bool:
        """Would `hold` let `size` bytes in at once?"""
        return not self._waiting and min(size, self._size) <= self._free

    async def enter(self, size: int) -> int:
        """Wait for room; the number to give to `leave`."""
        wanted = min(size, self._size)
        if self.has_room(wanted):
            self._free -= wanted
            return wanted
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(wanted)
            else:
                self._waiting.remove((wanted, turn))
                self._admit()
            raise
        return wanted

    def leave(self, held: int) -> None:
        """Give room back."""
        self._free += held
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)


@asynccontextmanager
async def entered(gate: ByteGate, size: int) -> AsyncIterator[None]:
    """Hold room for `size` bytes."""
    held = await gate.enter(size)
    try:
        yield
    finally:
        gate.leave(held)
