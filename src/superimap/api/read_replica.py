"""Reads of lists from a standby of PostgreSQL, as long as what it shows is young enough.

Only lists of what the workers write are read there: messages and deliveries. Whatever decides something, or shows
what a request may just have changed, is read from the primary.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from superimap.core import metrics
from superimap.db import replication
from superimap.db.engine import driver_transaction, sessions
from superimap.db.failures import UNAVAILABLE, DatabaseFailure, classify, explain
from superimap.db.replication import StandbyAge

log = logging.getLogger(__name__)

MAX_AGE_SECONDS = 5.0
"""Age of what a standby shows, from which the primary is read instead."""
CHECK_SECONDS = 1.0
CHECK_TIMEOUT_SECONDS = 2.0
READ_TIMEOUT_SECONDS = 3.0
"""Time for a list from a standby; then it is read from the primary."""

_FAILURES: tuple[type[BaseException], ...] = (SQLAlchemyError, asyncpg.PostgresError, *UNAVAILABLE)

Rows = TypeVar("Rows")
Sessions = async_sessionmaker[AsyncSession]


class ReadReplica:
    """A standby, or none: then all lists are read from the primary."""

    def __init__(
        self, standby: Sessions | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._standby = standby
        self._clock = clock
        self._age = StandbyAge(memory=MAX_AGE_SECONDS)
        self._is_used = True  # until the first check says otherwise, so that this is logged

    @property
    def is_usable(self) -> bool:
        """Whether what the standby shows is young enough."""
        return self._standby is not None and self._age.seconds(self._clock()) <= MAX_AGE_SECONDS

    async def read(self, primary: AsyncSession, read_list: Callable[[AsyncSession], Awaitable[Rows]]) -> Rows:
        """Read a list from the standby, or from the `primary` if the standby is too old or fails."""
        if self._standby is not None and self.is_usable:
            try:
                async with asyncio.timeout(READ_TIMEOUT_SECONDS), self._standby.begin() as db:
                    return await read_list(db)
            except _FAILURES as error:
                if classify(error) is DatabaseFailure.FAULT:
                    raise
                self._age.forget()
                log.warning("a list is read from the primary: %s", explain(error))
        return await read_list(primary)

    async def check(self, primary: Sessions) -> None:
        """Find how old the standby is. After an error it is not used until the next check."""
        if self._standby is None:
            return
        reason = "what it shows is too old, or it is no standby of this primary"
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                at = self._clock()
                async with driver_transaction(primary) as db:
                    written = await replication.read_primary(db)
                async with driver_transaction(self._standby) as db:
                    shown = await replication.read_standby(db)
            self._age.record(written, shown, at=at)
        except Exception as error:  # whatever it is, the primary is read, and the next check follows
            self._age.forget()
            reason = explain(error)
        self._report(reason)

    def _report(self, reason: str) -> None:
        is_used = self.is_usable
        metrics.READ_REPLICA_USED.set(is_used)
        if is_used != self._is_used:
            self._is_used = is_used
            if is_used:
                log.info("lists are read from the standby")
            else:
                log.warning("the standby is not read: %s", reason)


@asynccontextmanager
async def read_replica(url: str, primary: Sessions, *, pool_size: int) -> AsyncIterator[ReadReplica]:
    """Open the standby of this URL, if there is one, and check it every second."""
    if not url:
        yield ReadReplica()
        return
    async with sessions(url, pool_size=pool_size, name="standby") as standby:
        replica = ReadReplica(standby)
        await replica.check(primary)
        checking = asyncio.create_task(_check_periodically(replica, primary), name="read replica")
        try:
            yield replica
        finally:
            checking.cancel()
            await asyncio.gather(checking, return_exceptions=True)


async def _check_periodically(replica: ReadReplica, primary: Sessions) -> None:
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        await replica.check(primary)
