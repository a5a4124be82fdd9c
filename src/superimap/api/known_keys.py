"""Memory of API keys that this process has looked up lately, so that not each request reads its key."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from superimap.core.crypto import digest
from superimap.db.accounts.callers import Caller

KNOWN_SECONDS = 1.0
"""Time for which a key is used without being read again: a change applies to all requests after it."""

UNKNOWN_SECONDS = 10.0
"""Time for which an unknown key is refused without a look. Keys are random: it does not come to exist later."""

MAX_KNOWN_KEYS = 10_000
MAX_UNKNOWN_KEYS = 1_000


class KnownKeys:
    """Callers by the digest of their API key, and digests of keys that do not exist.

    The two are bounded apart from each other, so that random keys displace no valid ones. The times begin before a
    key is read.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[bytes, tuple[Caller, float]] = {}
        self._unknown: dict[bytes, float] = {}
        self._forgotten_at = -1.0

    async def find(
        self, api_key: str, look_up: Callable[[], Awaitable[Caller | None]], *, is_fresh: bool = False
    ) -> Caller | None:
        """Return the owner of a key, or None; `look_up` reads it if it is not known, or if `is_fresh`."""
        key, now = digest(api_key), self._clock()
        if not is_fresh:
            caller, until = self._known.get(key, (None, 0.0))
            if caller is not None and now < until:
                return caller
            if now < self._unknown.get(key, 0.0):
                return None
        caller = await look_up()
        if self._forgotten_at < now:
            self._store(key, caller, now)
        return caller

    def forget(self) -> None:
        """Read every key again: this process has changed one. Looks that have begun are not remembered."""
        self._known.clear()
        self._forgotten_at = self._clock()

    def _store(self, key: bytes, caller: Caller | None, now: float) -> None:
        self._known.pop(key, None)
        self._unknown.pop(key, None)
        if caller is None:
            _make_room(self._unknown, MAX_UNKNOWN_KEYS)
            self._unknown[key] = now + UNKNOWN_SECONDS
        else:
            _make_room(self._known, MAX_KNOWN_KEYS)
            self._known[key] = (caller, now + min(KNOWN_SECONDS, caller.valid_seconds))


def _make_room(entries: dict[bytes, Any], most: int) -> None:
    """Remove the entry that was read longest ago if there are `most`."""
    if len(entries) >= most:
        del entries[next(iter(entries))]
