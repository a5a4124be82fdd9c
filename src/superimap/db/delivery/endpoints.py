"""Endpoints: the partner of each, and its health, which is read and written under a lock.

Raw statements on asyncpg, one per function. All times are PostgreSQL's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from datetime import datetime

from asyncpg import Connection, Pool

from superimap.db import statements
from superimap.domain.deliveries import EndpointHealth

COLUMNS = tuple(field.name for field in fields(EndpointHealth))

_STATEMENTS = statements.load(__file__)
_READ_PARTNER = _STATEMENTS["read_partner"]
_LOCK_HEALTHS = _STATEMENTS["lock_healths"]
_LIST_EXISTING = _STATEMENTS["list_existing"]
_UPDATE_HEALTHS = _STATEMENTS["update_healths"]


async def partner_of(pool: Pool, endpoint_id: int) -> int | None:
    """Return the id of the endpoint's partner, which never changes; None if the endpoint no longer exists."""
    found: int | None = await pool.fetchval(*_READ_PARTNER.bind(endpoint_id=endpoint_id))
    return found


async def lock_healths(db: Connection, ids: Iterable[int]) -> tuple[datetime, dict[int, EndpointHealth]]:
    """Return the time, and the health of endpoints, locked against other changes until the transaction ends.

    Endpoints that another transaction has locked are left out, so that no lock is waited for; so are endpoints
    that no longer exist.
    """
    rows = await db.fetch(*_LOCK_HEALTHS.bind(ids=list(ids)))
    found = {row[1]: EndpointHealth(*row[2:]) for row in map(tuple, rows)}
    return (rows[0][0] if rows else datetime.min), found


async def list_existing(db: Connection, ids: Collection[int]) -> list[int]:
    """Return those of `ids` that exist, locked or not."""
    if not ids:
        return []
    return [row[0] for row in await db.fetch(*_LIST_EXISTING.bind(ids=list(ids)))]


async def set_healths(db: Connection, healths: Mapping[int, EndpointHealth]) -> None:
    """Write the health of endpoints that `lock_healths` locked."""
    columns = {name: [getattr(health, name) for health in healths.values()] for name in COLUMNS}
    await db.execute(*_UPDATE_HEALTHS.bind(ids=list(healths), **columns))
