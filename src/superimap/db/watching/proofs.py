"""Proofs of life of users' mail servers, written in batches."""

from collections.abc import Mapping

from asyncpg import Pool

from superimap.db import statements
from superimap.domain.events import UserEventKind

BATCH_USERS = 1000

_RECORD_PROOFS = statements.load(__file__)["record_proofs"]


async def record_proofs(pool: Pool, proofs: Mapping[int, float]) -> None:
    """Record how many seconds ago the mail servers of these users answered; a stalled user recovers.

    The rows are locked in one order, so that no two statements wait for each other.
    """
    users = sorted(proofs)
    for start in range(0, len(users), BATCH_USERS):
        batch = users[start : start + BATCH_USERS]
        await pool.execute(
            *_RECORD_PROOFS.bind(
                user_ids=batch,
                ages=[proofs[user_id] for user_id in batch],
                event_kind=UserEventKind.RECOVERED,
            )
        )
