"""Announcements of a user's change, in the changing transaction: to the idlers, and to the partner."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.domain.events import UserEventKind
from superimap.domain.shards import USERS_CHANNEL

_RECORD_EVENT = text("""
    WITH
    -- The event.
    recorded_events AS (
        INSERT INTO user_events (partner_id, user_id, kind)
        SELECT partner_id, id, :event_kind FROM users WHERE id = :user_id
        RETURNING id, partner_id, user_id
    )
    -- Its delivery, if the partner has a URL for events. The id is a UUID version 7 (RFC 9562 section 5.7): the
    -- milliseconds, the version, and the random rest of a version 4.
    INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind, event_id, content)
    SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
               || '7' || substr(gen_random_uuid()::text, 16))::uuid,
           v.partner_id, e.id, v.user_id, e.kind, v.id, ''
    FROM recorded_events v
    JOIN endpoints e ON e.partner_id = v.partner_id AND e.kind = 'events' AND e.url IS NOT NULL
""")
_END_REAUTH = text("UPDATE users SET reauth = NULL WHERE id = :user_id AND reauth IS NOT NULL RETURNING id")


async def ring_users(db: AsyncSession, shard: int) -> None:
    """Notify the idler that owns this shard, at the commit, that one of the shard's users changed."""
    await db.execute(
        text("SELECT pg_notify(:channel, :shard)"), {"channel": USERS_CHANNEL, "shard": str(shard)}
    )


async def record_restored(db: AsyncSession, user_id: int) -> None:
    """Record that the person has signed in again, and make the delivery that notifies the partner.

    Once, and only for a user whose partner was notified that the person must sign in.
    """
    if await db.scalar(_END_REAUTH, {"user_id": user_id}) is not None:
        await record_event(db, user_id, UserEventKind.RESTORED)


async def record_event(db: AsyncSession, user_id: int, kind: UserEventKind) -> None:
    """Record an event of a user, and make its delivery if the partner has a URL for events."""
    await db.execute(_RECORD_EVENT, {"user_id": user_id, "event_kind": kind.value})
