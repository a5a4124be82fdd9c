"""Is each user's mail server alive? Proofs, written together, and what is recorded where they stay away."""

from collections.abc import Mapping

from asyncpg import Connection, Pool

from superimap.db.watching.events import telling
from superimap.domain.users import StatusChange, UserStatus, status_after

BATCH = 1000

# Statuses in which nobody is looking out for a proof, or which say more than silence does.
_WATCHED = tuple(
    str(status)
    for status in UserStatus
    if status_after(status, StatusChange.UNRESPONSIVE) == UserStatus.STALLED
)


async def prove(pool: Pool, proofs: Mapping[int, float]) -> None:
    """The mail servers of these users have answered so many seconds ago. Who was stalled has recovered.

    The rows are locked in one order, so that no two statements wait for each other.
    """
    sql = f"""
        WITH was AS (
            SELECT u.id, u.stalled_at, now() - make_interval(secs => p.age) AS proven_at
            FROM unnest($1::bigint[], $2::float8[]) AS p(user_id, age) JOIN users u ON u.id = p.user_id
            ORDER BY u.id FOR NO KEY UPDATE OF u
        ), proven AS (
            UPDATE users u SET last_proven_alive_at = greatest(u.last_proven_alive_at, was.proven_at),
                stalled_at = NULL,
                status = CASE u.status WHEN 'stalled' THEN 'watching' ELSE u.status END,
                status_reason = CASE u.status WHEN 'stalled' THEN NULL ELSE u.status_reason END,
                status_since = CASE u.status WHEN 'stalled' THEN now() ELSE u.status_since END
            FROM was WHERE u.id = was.id AND (was.stalled_at IS NULL OR was.proven_at > was.stalled_at)
            RETURNING u.id, u.partner_id, was.stalled_at
        ), happened AS (
            SELECT partner_id, id AS user_id, 'recovered' AS kind, NULL AS code, NULL AS reason
            FROM proven WHERE stalled_at IS NOT NULL
        ), {telling("happened")}
        SELECT count(*) FROM told
    """  # noqa: S608 - words of ours
    users = sorted(proofs)
    for start in range(0, len(users), BATCH):
        some = users[start : start + BATCH]
        await pool.execute(sql, some, [proofs[user_id] for user_id in some])


async def stall(db: Connection | Pool, *, after: float, limit: int = BATCH) -> int:
    """Those who should be watched and whose mail server was not proven alive for `after` seconds are stalled.

    Who was just connected or restored has as long, and so has who was told to stay away until `retry_at`.
    Status and event in one statement. How many, at most `limit`; a user that somebody else is changing is left
    for the next time.
    """
    sql = f"""
        WITH due AS (
            SELECT id, status FROM users
            WHERE NOT archived AND connected_at IS NOT NULL AND stalled_at IS NULL
              AND status = ANY($2::text[])
              AND greatest(last_proven_alive_at, connected_at, retry_at,
                           CASE WHEN status = 'connecting' THEN status_since END)
                  < now() - make_interval(secs => $1)
            LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
        ), stalled AS (
            UPDATE users u SET status = 'stalled', status_since = now(), stalled_at = now(),
                status_reason = coalesce(u.status_reason, CASE
                    WHEN due.status = 'connecting' THEN 'no session has stood yet'
                    ELSE 'no idler has heard of the mail server' END)
            FROM due WHERE u.id = due.id
            RETURNING u.id, u.partner_id, u.status_reason
        ), happened AS (
            SELECT partner_id, id AS user_id, 'stalled' AS kind, NULL AS code, status_reason AS reason FROM stalled
        ), {telling("happened")}
        SELECT count(*) FROM told
    """  # noqa: S608 - words of ours
    count: int = await db.fetchval(sql, after, list(_WATCHED), limit)
    return count


async def delete_old_events(db: Connection | Pool, *, days: float, limit: int = 5 * BATCH) -> int:
    """Delete events recorded so long ago, unless a delivery of theirs is still owed. How many, at most `limit`."""
    sql = """
        DELETE FROM user_events WHERE id IN (
            SELECT v.id FROM user_events v
            WHERE v.at < now() - make_interval(secs => $1 * 86400) AND NOT EXISTS (
                SELECT FROM deliveries d WHERE d.event_id = v.id AND d.state IN ('pending', 'sending')
            )
            LIMIT $2 FOR UPDATE SKIP LOCKED
        )
    """
    tag = await db.execute(sql, days, limit)
    return int(tag.rpartition(" ")[2])
