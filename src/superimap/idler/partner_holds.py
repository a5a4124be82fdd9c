"""Partners whose backlog is full: nothing is recorded for their users until it is smaller."""

import asyncio
import contextlib

from asyncpg import Pool

from superimap.core.errors import SuperImapError
from superimap.db.postgres import UNAVAILABLE
from superimap.db.watching import holds

HOLD_PAUSE_SECONDS = 60.0
"""Longest pause until a session looks again whether its partner is still held."""


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

    async def refresh(self, pool: Pool) -> None:
        """Read which partners are held."""
        self._held = await holds.list_held(pool)

    async def refresh_periodically(self, pool: Pool, *, every: float) -> None:
        """Refresh every `every` seconds; while PostgreSQL is unreachable the held partners stay the same."""
        while True:
            with contextlib.suppress(*UNAVAILABLE):
                await self.refresh(pool)
            await asyncio.sleep(every)
