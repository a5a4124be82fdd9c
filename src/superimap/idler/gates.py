"""How much at once? Bytes of mail in memory, and logins to a mail server, over all sessions of an idler."""

import asyncio
import random
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext


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
            if not turn.cancelled():
                self.leave(wanted)
            elif (wanted, turn) in self._waiting:  # else `_admit` has passed it over already
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


class ByteGates:
    """Room for bytes of mail, of which a host that hangs takes half at most, and so do all that people named."""

    def __init__(self, size: int) -> None:
        self._half = max(1, size // 2)
        self._all, self._named = ByteGate(size), ByteGate(self._half)
        self._lanes: weakref.WeakValueDictionary[tuple[str, bool], Lane] = weakref.WeakValueDictionary()

    def lane(self, host: str, *, is_named: bool = False) -> "Lane":
        """The way in for all sessions with this host; `is_named`: by a person, who may name any number."""
        lane = self._lanes.get((host, is_named))
        if lane is None:
            shared = (self._named, self._all) if is_named else (self._all,)
            lane = self._lanes[host, is_named] = Lane(self._half, ByteGate(self._half), *shared)
        return lane


class Lane:
    """Gates one behind the other, entered in their order. What is larger than `most` counts as that."""

    def __init__(self, most: int, *gates: ByteGate) -> None:
        self._most = most
        self._gates = gates

    def has_room(self, size: int) -> bool:
        """Would `enter` let `size` bytes in at once?"""
        size = min(size, self._most)
        return all(gate.has_room(size) for gate in self._gates)

    async def enter(self, size: int) -> int:
        """Wait for room; the number to give to `leave`."""
        size = min(size, self._most)
        entered: list[ByteGate] = []
        try:
            for gate in self._gates:
                await gate.enter(size)
                entered.append(gate)
        except BaseException:
            for gate in entered:
                gate.leave(size)
            raise
        return size

    def leave(self, held: int) -> None:
        """Give room back."""
        for gate in self._gates:
            gate.leave(held)


@asynccontextmanager
async def entered(gate: ByteGate, size: int) -> AsyncIterator[None]:
    """Hold room for `size` bytes."""
    held = await gate.enter(size)
    try:
        yield
    finally:
        gate.leave(held)


class LoginGate:
    """Lets logins pass at a pace per host, and so many at once: thousands that come together queue up.

    Each pass reserves the next free moment of its host, with some jitter; the first comes at once. A host that
    hangs holds half of the places, so that the others go on; all hosts that people named hold half together.
    """

    def __init__(self, *, rate: float, at_once: int, chance: Callable[[], float] = random.random) -> None:
        self._rate = rate
        self._at_once = asyncio.Semaphore(at_once)
        self._most_per_host = max(1, at_once // 2)
        self._named_at_once = asyncio.Semaphore(self._most_per_host)
        self._chance = chance
        self._hosts: dict[str, _Host] = {}

    @asynccontextmanager
    async def turn(
        self, host: str, rate: float | None = None, *, is_named: bool = False
    ) -> AsyncIterator[None]:
        """Wait for my turn and hold it; `rate` in logins per second, if the host has its own.

        `is_named`: by a person, who may name any number of hosts that hang.
        """
        lane = self._hosts.get(host)
        if lane is None:
            lane = self._hosts[host] = _Host(self._most_per_host)
        now = asyncio.get_running_loop().time()
        moment = max(now, lane.free_at)
        lane.free_at = moment + (0.5 + self._chance()) / (rate or self._rate)
        if moment > now:
            await asyncio.sleep(moment - now)
        async with lane.at_once, self._named_at_once if is_named else nullcontext(), self._at_once:
            yield


class _Host:
    """When the next login may begin, and how many are under way."""

    __slots__ = ("at_once", "free_at")

    def __init__(self, most: int) -> None:
        self.free_at = 0.0
        self.at_once = asyncio.Semaphore(most)
