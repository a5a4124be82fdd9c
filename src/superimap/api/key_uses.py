"""Uses of API keys that this process has stored lately."""

import time
from collections.abc import Callable

from superimap.core.crypto import digest
from superimap.db.accounts.callers import USE_INTERVAL_SECONDS

MAX_REMEMBERED_KEYS = 10_000


class KeyUses:
    """Decides which uses of API keys are stored: for each key one in USE_INTERVAL_SECONDS."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stored: dict[bytes, float] = {}

    def note(self, api_key: str) -> bool:
        """Whether this use is to be stored. Then the next ones are not, for USE_INTERVAL_SECONDS."""
        key, now = digest(api_key), self._clock()
        if now - self._stored.get(key, -USE_INTERVAL_SECONDS) < USE_INTERVAL_SECONDS:
            return False
        if len(self._stored) >= MAX_REMEMBERED_KEYS:
            self._stored.clear()
        self._stored[key] = now
        return True
