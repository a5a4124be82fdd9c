"""Users of each shard: how many are watched, and the upkeep of the sums that triggers of `users` write.

Raw statements on asyncpg, each a transaction of its own.
"""

from dataclasses import dataclass

from superimap.db import statements
from superimap.db.delivery.deliveries import Db

MERGED_ROWS = 5_000

_STATEMENTS = statements.load(__file__)
_SURVEY_SHARDS = _STATEMENTS["survey_shards"]
_MERGE_SUMS = _STATEMENTS["merge_sums"]


@dataclass(frozen=True, slots=True)
class Survey:
    """Watched users by shard, the number of all users, and the shards whose sums were wrong and are corrected."""

    watched: dict[int, int]
    users: int
    corrected: tuple[int, ...]


async def survey_shards(db: Db, shards: range) -> Survey:
    """Count the watched users of these shards, and correct their sums."""
    rows = await db.fetch(*_SURVEY_SHARDS.bind(first=shards.start, last=shards.stop - 1))
    return Survey(
        {row["shard"]: row["watched"] for row in rows},
        sum(row["users"] for row in rows),
        tuple(row["shard"] for row in rows if row["is_corrected"]),
    )


async def merge_sums(db: Db, *, limit: int = MERGED_ROWS) -> int:
    """Merge rows of the sums of a shard into one; return how many were merged, at most `limit`."""
    merged: int = await db.fetchval(*_MERGE_SUMS.bind(limit=limit))
    return merged
