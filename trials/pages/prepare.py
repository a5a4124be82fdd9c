"""What a filled database lacks: an operator, a job, and the ids of rows in the middle of the large tables."""

from __future__ import annotations

from fixtures.world import World
from superimap.db import engine
from superimap.db.operators import accounts
from superimap.domain.operators import OperatorRole

_BUSIEST_ID = 1
"""The partner that has half of the users."""
_JOB = """
    INSERT INTO jobs (kind, plan, actor_kind, made_by, partner_id, total, done, state, finished_at)
    SELECT 'replay_deliveries', '{"state": "failed"}', 'operator', 'ada@example.com', 1, 240, 240, 'done', now()
    WHERE NOT EXISTS (SELECT FROM jobs)
"""
_TRACERS = """
    WITH used AS (SELECT id, row_number() OVER (ORDER BY id) AS n FROM providers LIMIT 20),
    days AS (
        INSERT INTO tracer_days (provider_id, day, detected) SELECT id, current_date - d, 720
        FROM used, generate_series(0, 89) d ON CONFLICT DO NOTHING
    )
    INSERT INTO tracers (partner_id, user_id, provider_id, token_digest, created_at, accepted_at, detected_at,
        verdict)
    SELECT u.partner_id, u.id, p.id, sha256((g.n || ' ')::bytea), at, at, at,
        CASE g.n % 500 WHEN 7 THEN 'missing' ELSE 'detected' END
    FROM (SELECT id, partner_id FROM users ORDER BY id LIMIT 1) u, generate_series(1, 1000000) g(n)
    JOIN used p ON p.n = g.n % 20 + 1, LATERAL (SELECT now() - g.n * interval '6 seconds') t(at)
    ON CONFLICT DO NOTHING
"""
"""A million tracers of 20 providers: 100 in ten minutes for 70 days."""
_MAIL = """
    SELECT m.user_id::text, m.id::text, 'msg_' || replace(d.id::text, '-', '')
    FROM deliveries d JOIN messages m ON m.id = d.message_id
    WHERE d.partner_id = $1 AND d.state = 'failed' ORDER BY d.id DESC LIMIT 1 OFFSET 10
"""
_MUTE = "UPDATE endpoints SET disabled_at = now(), disabled_reason = 'trial' WHERE disabled_at IS NULL"
"""Nothing listens at the addresses of the endpoints, and a dispatcher would try them."""


async def prepare(world: World) -> dict[str, str]:
    """Add what is missing, and return the ids for the addresses of pages."""
    async with engine.sessions(world.database_url) as sessions, sessions.begin() as db:
        if not await world.value("SELECT EXISTS (SELECT FROM operators)"):
            await accounts.create(db, "ada@example.com", OperatorRole.OWNER)
    await world.rows(
        "DELETE FROM vault_canaries"
    )  # each run has a key of its own; nothing here can be decrypted
    await world.rows(_JOB)
    await world.rows(_TRACERS)
    await world.rows(
        "UPDATE activity_marks SET counted_to = now(), counted_id = (SELECT max(id) FROM messages)"
    )
    await world.rows("VACUUM (ANALYZE)")  # an earlier run has purged rows
    await world.rows("UPDATE idlers SET heartbeat_at = now() + interval '1 day'")
    (row,) = await world.rows(_MAIL, _BUSIEST_ID)
    user, mail, webhook = row
    return {"user_id": user, "message_id": mail, "webhook": webhook, "code": "GROWTH1"}


async def disable_endpoints(world: World) -> None:
    """Disable all endpoints."""
    await world.rows(_MUTE)
