"""Stored times of settled deliveries, of which traces are made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from asyncpg import Record

from superimap.db import statements
from superimap.db.delivery.deliveries import Db
from superimap.domain.mail_stages import MailStages, found_by_number
from superimap.domain.traces import StoredAttempt, StoredTrace

MAX_CANCELLED = 5_000
"""Cancelled deliveries of one interval of which traces are made."""

_STATEMENTS = statements.load(__file__)
_READ_TRACES = _STATEMENTS["read_traces"]
_LIST_CANCELLED = _STATEMENTS["list_cancelled"]


async def read_traces(db: Db, deliveries: Sequence[tuple[int, UUID]]) -> list[StoredTrace]:
    """Return what is stored of these deliveries, each given by partner and id; only of those that are settled."""
    partner_ids, ids = [each[0] for each in deliveries], [each[1] for each in deliveries]
    rows = await db.fetch(*_READ_TRACES.bind(partner_ids=partner_ids, ids=ids))
    return [_trace(row) for row in rows]


async def list_cancelled(db: Db, *, after: datetime, until: datetime) -> list[tuple[int, UUID]]:
    """Return deliveries that were cancelled in this interval, each by partner and id; MAX_CANCELLED at most."""
    bound = _LIST_CANCELLED.bind(counted_to=after, count_to=until, limit=MAX_CANCELLED)
    return [(row["partner_id"], row["id"]) for row in await db.fetch(*bound)]


def _trace(row: Record) -> StoredTrace:
    ago, attempts = row["recording_milliseconds"], [StoredAttempt(*each) for each in row["attempts"]]
    stages = MailStages(
        found_by=found_by_number(row["found_by"]),
        received_at=row["internal_date"],
        found_at=None if ago is None else row["message_created_at"] - timedelta(milliseconds=ago),
        recorded_at=row["created_at"],
        first_attempt_at=attempts[0].started_at if attempts else None,
        attempt_seconds=attempts[-1].milliseconds / 1000 if attempts else None,
        settled_at=row["settled_at"],
    )
    return StoredTrace(
        delivery_id=row["id"],
        partner_id=row["partner_id"],
        endpoint_id=row["endpoint_id"],
        kind=row["kind"],
        state=row["state"],
        provider=row["provider"],
        message_id=row["message_id"],
        stages=stages,
        attempts=attempts,
    )
