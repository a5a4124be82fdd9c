"""Purges: deletion of rows and content past their retention, one batch of each kind at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from superimap.db.delivery import liveness, sweeping, sweeps, tracers
from superimap.db.delivery.deliveries import Db
from superimap.domain.protocol_logs import RETENTION_DAYS
from superimap.domain.tracers import OBJECTIVE_DAYS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retention:
    """Days for which rows are kept.

    `content_days` is for the content of failed deliveries, `disabled_days` for deliveries that wait for a disabled
    endpoint, `row_days` for settled deliveries and for messages.
    """

    content_days: float
    disabled_days: float
    row_days: float


class Purges:
    """Purges each kind of rows every `interval` seconds: batch after batch, until all of the kind is purged."""

    def __init__(self, retention: Retention, *, interval: float) -> None:
        self._retention = retention
        self._interval = interval
        self._not_before: dict[str, float] = {}
        self._last_message = 0

    async def run_due(self, db: Db) -> None:
        """Purge one batch of each kind that is due. After an error, the kind is due an interval later."""
        kept, now = self._retention, time.monotonic()
        kinds: dict[str, tuple[Callable[..., Awaitable[int]], float]] = {
            "disabled": (sweeping.fail_disabled, kept.disabled_days),
            "contents": (sweeping.erase_old_content, kept.content_days),
            "deliveries": (sweeping.delete_old_deliveries, kept.row_days),
            "messages": (self._delete_messages, kept.row_days),
            "user_events": (liveness.delete_old_events, kept.row_days),
            "sweeps": (sweeps.delete_old, kept.row_days),
            "tracers": (tracers.delete_old, kept.row_days),
            "tracer_days": (tracers.delete_old_days, max(kept.row_days, OBJECTIVE_DAYS)),
            "protocol_logs": (liveness.delete_old_protocol_logs, RETENTION_DAYS),
        }
        purged: dict[str, int] = {}
        for kind, (purge, days) in kinds.items():
            if now < self._not_before.get(kind, 0.0):
                continue
            self._not_before[kind] = now + self._interval  # also after an error
            rows = await purge(db, days=days)
            # What is kept for no time at all is purged with each sweep.
            if rows or not days or (kind == "messages" and self._last_message):
                self._not_before[kind] = 0.0
            if rows:
                purged[kind] = rows
        if purged:
            log.info("old rows purged", extra=purged)

    async def _delete_messages(self, db: Db, *, days: float) -> int:
        """Continue where the last batch ended, and start again with the oldest message after the last one."""
        after, self._last_message = self._last_message, 0  # also after an error
        rows, last = await sweeping.delete_old_messages(db, days=days, after=after)
        self._last_message = last or 0
        return rows
