"""User events as the dispatcher reads them, to make the content of their deliveries.

A statement that changes a user's status records the event and its delivery as well (the CTEs `recorded_events`
and `event_deliveries`), with empty content: the content is made from the event's row when the delivery is sent,
so that PostgreSQL alone can make the delivery. No doorbell is rung for it; the sweeper finds it within a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from asyncpg import Pool

from superimap.db import statements
from superimap.domain.events import UserEventKind

_LOAD_EVENT = statements.load(__file__)["load_event"]


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event with its user. `code` and `reason` say why it happened: for programs, and for people."""

    kind: UserEventKind
    code: str | None
    reason: str | None
    at: datetime
    user_tag: str
    imap_provider_code: str


async def load(pool: Pool, event_id: int) -> RecordedEvent | None:
    """Return the event; None if it no longer exists: then its delivery was deleted with it."""
    row = await pool.fetchrow(*_LOAD_EVENT.bind(event_id=event_id))
    return RecordedEvent(UserEventKind(row[0]), *tuple(row)[1:]) if row is not None else None
