"""Name resolution for mail servers, by the system, with seats that no stranger's names can fill.

The system's resolver blocks a thread for as long as a name server does not answer, 20 s and more. People may name
any number of servers whose names behave like that.
"""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any

MAX_LOOKUPS = 64
"""Lookups at once."""
MAX_NAMED_LOOKUPS = MAX_LOOKUPS // 2
"""Lookups at once of names that people entered."""
MAX_SLOW_LOOKUPS = 8
"""Lookups at once of such names that were slow the last times; the least often slow one is looked up first."""
MAX_SLOW_TIMES = 16
"""Slow lookups in a row that are counted."""
SLOW_SECONDS = 3.0
"""Time after which a lookup was slow."""
_MAX_SLOW_NAMES = 4096  # remembered

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""Family, type, protocol, canonical name and socket address, as from `socket.getaddrinfo`."""


class Resolver:
    """Resolver with MAX_LOOKUPS lookups at once; a host has one at a time, for all who ask."""

    def __init__(self) -> None:
        # Threads of its own: those of the event loop are few, and serve others.
        self._threads = ThreadPoolExecutor(MAX_LOOKUPS, thread_name_prefix="dns")
        self._seats = asyncio.Semaphore(MAX_LOOKUPS)
        self._named_seats = asyncio.Semaphore(MAX_NAMED_LOOKUPS)
        self._slow_seats = RankedSeats(MAX_SLOW_LOOKUPS)
        self._slow: OrderedDict[str, int] = OrderedDict()  # slow lookups in a row
        self._lookups: dict[tuple[str, int, bool], asyncio.Task[Sequence[AddressInfo]]] = {}

    async def look_up(self, host: str, port: int, *, is_named: bool = False) -> Sequence[AddressInfo]:
        """Return the addresses of `host`. `is_named` says that a person entered it. Raises OSError, UnicodeError.

        A caller that gives up leaves the lookup to its thread, which keeps its seat until the system returns.
        """
        key = (host, port, is_named)
        task = self._lookups.get(key)
        if task is None:
            task = self._lookups[key] = asyncio.create_task(self._look_up(host, port, is_named=is_named))
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    def _forget(self, key: tuple[str, int, bool], task: "asyncio.Task[Sequence[AddressInfo]]") -> None:
        del self._lookups[key]
        if not task.cancelled():
            task.exception()  # it may have nobody left to raise to

    async def _look_up(self, host: str, port: int, *, is_named: bool) -> Sequence[AddressInfo]:
        loop = asyncio.get_running_loop()
        times = self._slow.get(host, 0) if is_named else 0
        slow = self._slow_seats.take(times) if times else nullcontext()
        async with slow, self._named_seats if is_named else nullcontext(), self._seats:
            began = loop.time()
            try:
                ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
                return await loop.run_in_executor(self._threads, ask)
            finally:
                self._note(host, is_slow=loop.time() - began > SLOW_SECONDS)

    def _note(self, host: str, *, is_slow: bool) -> None:
        times = self._slow.pop(host, 0)
        if is_slow:
            self._slow[host] = min(times + 1, MAX_SLOW_TIMES)
            if len(self._slow) > _MAX_SLOW_NAMES:
                self._slow.popitem(last=False)


class RankedSeats:
    """A semaphore that admits the waiter of the lowest rank first, and of one rank the one that came first.

    A name that was slow once does not wait behind those that never answer: their rank rises each time.
    """

    def __init__(self, seats: int) -> None:
        self._free = seats
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = count()

    @asynccontextmanager
    async def take(self, rank: int) -> AsyncIterator[None]:
        """Wait for a seat and hold it."""
        if self._free:
            self._free -= 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heappush(self._waiting, (rank, next(self._arrivals), turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._release()
                raise
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        while self._waiting:
            turn = heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
