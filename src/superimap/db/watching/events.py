"""What has happened to a user, and how is its partner told? Recorded and owed in one statement.

A delivery that is owed for an event is made of the event's row when it is sent, so that PostgreSQL alone can owe
it. Nobody rings for it: the sweeper finds it within a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from asyncpg import Pool

from superimap.domain.events import UserEventKind

# UUID version 7, as `ids.uuid7` makes them: milliseconds, the version, and the random rest of a version 4.
_ID = """(
    lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
    || '7' || substr(gen_random_uuid()::text, 16)
)::uuid"""


def telling(happened: str) -> str:
    """CTEs, to be appended to that of this name: record what it holds, and owe it where there is a URL for events.

    It has partner_id, user_id, kind, code and reason. `told` is what was recorded.
    """
    return f"""
        told AS (
            INSERT INTO user_events (partner_id, user_id, kind, code, reason)
            SELECT partner_id, user_id, kind, code, reason FROM {happened}
            RETURNING id, partner_id, user_id, kind
        ), owed_events AS (
            INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind, event_id, content)
            SELECT {_ID}, t.partner_id, e.id, t.user_id, e.kind, t.id, ''
            FROM told t
            JOIN endpoints e ON e.partner_id = t.partner_id AND e.kind = 'events' AND e.url IS NOT NULL
        )
    """  # noqa: S608 - words of ours


@dataclass(frozen=True, slots=True)
class Happened:
    """An event with the user whom it is about."""

    kind: UserEventKind
    code: str | None
    reason: str | None
    at: datetime
    user_tag: str
    imap_provider_code: str


async def load(pool: Pool, event_id: int) -> Happened | None:
    """The event; None if it is gone."""
    sql = """
        SELECT v.kind, v.code, v.reason, v.at, u.tag, p.code
        FROM user_events v JOIN users u ON u.id = v.user_id
        JOIN connections c ON c.id = u.connection_id JOIN providers p ON p.id = c.provider_id
        WHERE v.id = $1
    """
    row = await pool.fetchrow(sql, event_id)
    return Happened(UserEventKind(row[0]), *tuple(row)[1:]) if row is not None else None
