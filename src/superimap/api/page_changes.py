"""Changes that open pages wait for: one task of a process asks the database, and only while a page is open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from superimap.api.errors import Problem
from superimap.db.failures import UNAVAILABLE
from superimap.db.monitoring import changes

_FAILURES: tuple[type[BaseException], ...] = (SQLAlchemyError, *UNAVAILABLE)
log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
MAX_PAGES_PER_SECOND = 10
"""That the pages of a process fetch again by themselves, however much happens."""
MAX_STREAMS = 200
"""Of a process. A page without a stream works, and is fetched again by hand."""


class Changes:
    """The streams of this process, and the task that looks for changes while there are any."""

    def __init__(self) -> None:
        self._streams = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def stream(self, database: async_sessionmaker[AsyncSession]) -> AsyncIterator[None]:
        """Count a stream, for which the task runs. Raises Problem 503 above MAX_STREAMS."""
        if self._streams >= MAX_STREAMS:
            raise Problem(503, "Too many pages are open at once.")
        self._streams += 1
        if self._task is None:
            self._task = asyncio.create_task(self._look(database), name="dashboard changes")
        try:
            yield
        finally:
            self._streams -= 1
            if not self._streams and self._task is not None:
                self._task.cancel()
                self._task = None

    def pace(self) -> float:
        """Return the least seconds between two changes of a stream, so that all together cost a bounded amount."""
        return max(POLL_SECONDS, self._streams / MAX_PAGES_PER_SECOND)

    async def wait(self, seconds: float) -> None:
        """Wait for the next change, for at most this time."""
        changed = self._changed
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await changed.wait()

    async def _look(self, database: async_sessionmaker[AsyncSession]) -> None:
        seen: changes.Latest | None = None
        while True:
            try:
                async with database.begin() as db:
                    latest = await changes.read_latest(db)
            except _FAILURES as error:
                log.debug("the dashboard cannot look for changes: %s", type(error).__name__)
            else:
                if seen is not None and latest != seen:
                    self._changed.set()
                    self._changed = asyncio.Event()
                seen = latest
            await asyncio.sleep(POLL_SECONDS)
