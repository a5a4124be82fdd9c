"""Partners whose backlog is full: nothing is recorded for their users until it is smaller."""

import asyncio
from collections.abc import Callable

from asyncpg import Pool

from superimap.core.errors import SuperImapError
from superimap.db.failures import UNAVAILABLE, explain
from superimap.db.watching import holds

HOLD_PAUSE_SECONDS = 60.0
"""Longest pause until a session looks again whether its partner is still held."""

RETRY_SECONDS = 1.0
"""Pause after a refresh that failed."""


class BacklogFull(SuperImapError):
    """The partner's backlog of webhooks has reached its quota. Nothing was recorded; the cursor stays."""

    def __init__(self) -> None:
        super().__init__(
            "the partner's backlog of webhooks has reached its quota; new mail waits at the mail server"
        )


class PartnerHolds:
    """The held partners, as read last."""

    def __init__(self) -> None:
        self._held: frozenset[int] = frozenset()

    def check(self, partner_id: int) -> None:
        """Raise BacklogFull if this partner is held."""
        if partner_id in self._held:
            raise BacklogFull

    def is_held(self, partner_id: int) -> bool:
        """Return whether this partner is held."""
        return partner_id in self._held

    async def refresh(self, pool: Pool) -> None:
        """Read which partners are held."""
        self._held = await holds.list_held(pool)

    async def refresh_periodically(
        self, pool: Pool, *, every: float, report: Callable[[str | None], None]
    ) -> None:
        """Refresh every `every` seconds; while PostgreSQL is unreachable the held partners stay the same.

        `report` is called with the reason, and with None after a success: sessions use this pool as well.
        """
        while True:
            pause = every
            try:
                await self.refresh(pool)
                report(None)
            except UNAVAILABLE as error:
                report(explain(error))
                pause = min(every, RETRY_SECONDS)
            await asyncio.sleep(pause)
