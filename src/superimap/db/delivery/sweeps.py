"""Sweeps, for dispatchers: the purge of old ones."""

from asyncpg import Connection, Pool

from superimap.db import statements

BATCH_SWEEPS = 1000

_STATEMENTS = statements.load(__file__)
_DELETE_OLD_SWEEPS = _STATEMENTS["delete_old_sweeps"]


async def delete_old(db: Connection | Pool, *, days: float, limit: int = BATCH_SWEEPS) -> int:
    """Delete sweeps that ended more than `days` ago; return how many."""
    tag = await db.execute(*_DELETE_OLD_SWEEPS.bind(days=days, limit=limit))
    return int(tag.rpartition(" ")[2])
