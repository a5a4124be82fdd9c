"""The watches of an idler, which read their cursors again after PostgreSQL has lost writes."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Protocol

from superimap.core import metrics

REREADS_PER_SECOND = 500
"""Mailboxes that are opened again per second, so that neither PostgreSQL nor mail servers are flooded."""

log = logging.getLogger(__name__)


class Rereadable(Protocol):
    """A watch; implemented by `MailboxWatch`."""

    @property
    def recorded_at(self) -> float:
        """The event loop's time of the last record; 0 if there was none."""
        ...

    def reread_cursor(self) -> None: ...


class OpenWatches:
    """The watches that are established now, by user."""

    def __init__(self) -> None:
        self._watches: dict[int, Rereadable] = {}
        self.losses = 0
        """How often writes may have been lost."""

    @contextlib.contextmanager
    def track(self, user_id: int, watch: Rereadable) -> Iterator[None]:
        """Inside the block, have this watch read its cursor again when writes are lost."""
        self._watches[user_id] = watch
        try:
            yield
        finally:
            del self._watches[user_id]

    def reread_cursors(self, since: float) -> None:
        """Have each watch that recorded at or after `since` (the event loop's time) read its cursor again."""
        self.losses += 1
        affected = [watch for watch in self._watches.values() if watch.recorded_at >= since]
        if not affected:
            return
        log.error(
            "PostgreSQL may have lost writes (promotion of a replica, restore); mailboxes are opened again",
            extra={"mailboxes": len(affected)},
        )
        metrics.CURSORS_REREAD.inc(len(affected))
        loop = asyncio.get_running_loop()
        for number, watch in enumerate(affected):
            loop.call_later(number / REREADS_PER_SECOND, watch.reread_cursor)
