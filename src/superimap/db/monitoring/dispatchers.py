"""Dispatchers as PostgreSQL knows them: their presence, and their POSTs in flight."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import statements
from superimap.db.engine import driver_connection
from superimap.db.presence import DISPATCHER_LOCK_SPACE

_LIST = statements.load(__file__)["list_dispatchers"]

MAX_LISTED = 200


@dataclass(frozen=True, slots=True)
class DispatcherStatus:
    """A dispatcher with its POSTs in flight.

    `is_present`: it is connected to PostgreSQL. A holder of leases that is not has died, or reconnects; its leases
    are released by others. `number` is None for POSTs of dispatchers that had no number when they began.
    `connected_at` and `address` are None where this role may not see them, or over a Unix socket.
    """

    number: int | None
    is_present: bool
    connected_at: datetime | None
    address: str | None
    posts: int


async def list_dispatchers(db: AsyncSession) -> Sequence[DispatcherStatus]:
    """Return the dispatchers, MAX_LISTED at most."""
    driver = await driver_connection(db)
    rows = await driver.fetch(*_LIST.bind(space=DISPATCHER_LOCK_SPACE, limit=MAX_LISTED))
    return [DispatcherStatus(**dict(row)) for row in rows]
