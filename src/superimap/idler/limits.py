"""Limits over all sessions of an idler: bytes of mail in memory, and logins to mail servers."""

import asyncio
import random
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext

MIN_PRUNED_HOSTS = 1024
"""Hosts that are remembered at least, before those not in use are forgotten."""


class ByteLimit:
    """A number of bytes that may be held at once. Waiters are admitted first come, first served.

    A mail larger than the whole limit is admitted alone.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def has_room(self, size: int) -> bool:
        """Return whether `acquire` would admit `size` bytes without waiting."""
        return not self._waiting and min(size, self._size) <= self._free

    def take(self, size: int) -> None:
        """Take `size` bytes, for which there is room."""
        self._free -= size

    async def acquire(self, size: int) -> int:
        """Wait for room for `size` bytes; return the number of bytes to pass to `release`."""
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
                self.release(wanted)
            elif (wanted, turn) in self._waiting:  # otherwise `_admit` has already dropped it
                self._waiting.remove((wanted, turn))
                self._admit()
            raise
        return wanted

    def release(self, held: int) -> None:
        """Give back `held` bytes and admit the waiters that now fit."""
        self._free += held
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)


class HostByteLimit:
    """The byte limits of one host, acquired in order. Sizes above `max_size` count as `max_size`."""

    def __init__(self, max_size: int, *limits: ByteLimit) -> None:
        self._max_size = max_size
        self._limits = limits

    def has_room(self, size: int) -> bool:
        """Return whether `acquire` would admit `size` bytes without waiting."""
        size = min(size, self._max_size)
        return all(limit.has_room(size) for limit in self._limits)

    def try_acquire(self, size: int) -> bool:
        """Take `size` bytes in every limit if there is room at once; return whether there was."""
        if size > self._max_size or not self.has_room(size):
            return False
        for limit in self._limits:
            limit.take(size)
        return True

    async def acquire(self, size: int) -> int:
        """Wait for room in every limit; return the number of bytes to pass to `release`."""
        size = min(size, self._max_size)
        acquired: list[ByteLimit] = []
        try:
            for limit in self._limits:
                await limit.acquire(size)
                acquired.append(limit)
        except BaseException:
            for limit in acquired:
                limit.release(size)
            raise
        return size

    def release(self, held: int) -> None:
        """Give back `held` bytes to every limit."""
        for limit in self._limits:
            limit.release(held)


class ByteLimits:
    """The bytes of mail that all sessions may hold at once, divided between hosts.

    One unresponsive host can hold at most half of them. All servers that people named hold at most half together.
    """

    def __init__(self, size: int) -> None:
        self._half = max(1, size // 2)
        self._all, self._named = ByteLimit(size), ByteLimit(self._half)
        self._hosts: weakref.WeakValueDictionary[tuple[str, bool], HostByteLimit] = (
            weakref.WeakValueDictionary()
        )

    def for_host(self, host: str, *, is_named: bool = False) -> HostByteLimit:
        """Return the limit that all sessions with this host share.

        `is_named` says that a person named the server; people may name any number of servers.
        """
        limit = self._hosts.get((host, is_named))
        if limit is None:
            shared = (self._named, self._all) if is_named else (self._all,)
            limit = self._hosts[host, is_named] = HostByteLimit(self._half, ByteLimit(self._half), *shared)
        return limit


class LoginLimiter:
    """A rate limit on logins per host and a concurrency limit on all logins: thousands at once form a queue.

    Logins of a host take turns, with a pause of 1 / rate and jitter of ±50 % after each; the first starts at
    once. A login that is cancelled while it waits takes no turn, so that sessions of shards that move on delay
    no others. One unresponsive host can hold at most half of the slots. All servers that people named hold at
    most half together.
    """

    def __init__(self, *, rate: float, at_once: int, chance: Callable[[], float] = random.random) -> None:
        self._rate = rate
        self._slots = asyncio.Semaphore(at_once)
        self._slots_per_host = max(1, at_once // 2)
        self._named_slots = asyncio.Semaphore(self._slots_per_host)
        self._chance = chance
        self._hosts: dict[str, _HostLogins] = {}
        self._most_hosts = MIN_PRUNED_HOSTS

    @property
    def hosts(self) -> set[str]:
        """The hosts that are remembered."""
        return set(self._hosts)

    @asynccontextmanager
    async def slot(
        self, host: str, rate: float | None = None, *, is_named: bool = False
    ) -> AsyncIterator[None]:
        """Wait for a login slot and hold it.

        `rate` is in logins per second, for a host that has a rate of its own. `is_named` says that a person named
        the server; people may name any number of unresponsive ones.
        """
        now = asyncio.get_running_loop().time()
        logins = self._hosts.get(host)
        if logins is None:
            self._prune(now)
            logins = self._hosts[host] = _HostLogins(self._slots_per_host)
        logins.users += 1
        try:
            await logins.wait_for_turn(pause=(0.5 + self._chance()) / (rate or self._rate))
            async with logins.slots, self._named_slots if is_named else nullcontext(), self._slots:
                yield
        finally:
            logins.users -= 1

    def _prune(self, now: float) -> None:
        """Forget the hosts that are not in use, each time their number has doubled: people may name any number."""
        if len(self._hosts) >= self._most_hosts:
            self._hosts = {
                host: logins for host, logins in self._hosts.items() if logins.users or logins.free_at > now
            }
            self._most_hosts = max(MIN_PRUNED_HOSTS, 2 * len(self._hosts))


class _HostLogins:
    """The moment at which the next login to a host may start, the slots for logins, and their users."""

    __slots__ = ("_timer", "_waiting", "free_at", "slots", "users")

    def __init__(self, slots: int) -> None:
        self.users = 0
        self.free_at = 0.0
        self.slots = asyncio.Semaphore(slots)
        self._waiting: deque[tuple[asyncio.Future[None], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def wait_for_turn(self, *, pause: float) -> None:
        """Wait for those that came before; the next one may start `pause` seconds after this one."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._waiting and self.free_at <= now:
            self.free_at = now + pause
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append((turn, pause))
        if self._timer is None:
            self._timer = loop.call_at(self.free_at, self._give_turns, loop)
        await turn

    def _give_turns(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting and self.free_at <= loop.time():
            turn, pause = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self.free_at += pause
        self._timer = loop.call_at(self.free_at, self._give_turns, loop) if self._waiting else None
