"""Partners whose mails are not recorded for now, because their backlog has reached a quota."""

from asyncpg import Pool

from superimap.db import statements

_LIST_HELD = statements.load(__file__)["list_held"]


async def list_held(pool: Pool) -> frozenset[int]:
    """Return the ids of these partners; usually none."""
    return frozenset(row[0] for row in await pool.fetch(*_LIST_HELD.bind()))
