-- Statements of proofs.py.

-- name: read_clock$
SELECT clock_timestamp();

-- name: vouch$
-- One interval of a voucher. It counts only if this idler owns all of :shards with these epochs.
WITH
-- Whether the idler has lost none of the shards, and was not found to be absent.
holder AS (
    SELECT FROM idlers i
    WHERE i.id = :idler AND i.absent_since IS NULL AND NOT EXISTS (
        SELECT FROM unnest(:shards::smallint[], :epochs::bigint[]) AS k(shard, epoch)
        LEFT JOIN shards s ON s.shard = k.shard AND s.epoch = k.epoch AND s.owner = :idler
        WHERE s.shard IS NULL
    )
),
-- The row of this turn, which replaces that of an earlier interval.
vouched AS (
    INSERT INTO vouches (voucher, turn, since, proven)
    SELECT :voucher::bigint, :turn::smallint, :since::timestamptz, :proven::varbit FROM holder
    ON CONFLICT (voucher, turn) DO UPDATE
        SET since = excluded.since, reported_at = excluded.reported_at, proven = excluded.proven
    RETURNING 1
)
SELECT EXISTS (SELECT FROM vouched);

-- name: keep_vouched!
-- Write to these users the vouch that is about to be overwritten, unless another idler has opened them since.
UPDATE users SET last_proven_alive_at = :since::timestamptz
WHERE id = ANY(:user_ids::bigint[]) AND vouched_by = :voucher::bigint
  AND (last_proven_alive_at IS NULL OR last_proven_alive_at < :since::timestamptz);

-- name: find_doubtful
-- Those of the given users for whom the voucher's next vouch would not count, or would not end a stall.
SELECT k.id FROM unnest(:user_ids::bigint[]) AS k(id) LEFT JOIN users u ON u.id = k.id
WHERE u.vouched_by IS DISTINCT FROM :voucher::bigint OR u.stalled_at IS NOT NULL;

-- name: record_proofs
-- :user_ids, :times and :slots are arrays of equal length: users, when their mail servers answered, and their places in
-- the vouches of :voucher from now on. Users of shards that :idler does not own are skipped.
WITH
-- The users, locked in one order so that no two statements wait for each other, and the times of their proofs.
before AS (
    SELECT u.id, u.stalled_at, p.proven_at, p.slot
    FROM unnest(:user_ids::bigint[], :times::timestamptz[], :slots::int[]) AS p(user_id, proven_at, slot)
    JOIN users u ON u.id = p.user_id JOIN shards s ON s.shard = u.shard
    WHERE s.owner = :idler AND NOT u.archived AND u.connected_at IS NOT NULL
    ORDER BY u.id FOR NO KEY UPDATE OF u
),
-- The users after the change. A proof that is older than the stall does not end it.
proven AS (
    UPDATE users u SET last_proven_alive_at = greatest(u.last_proven_alive_at, before.proven_at),
        vouched_by = :voucher::bigint, vouch_slot = before.slot, stalled_at = NULL,
        status = CASE u.status WHEN 'stalled' THEN 'watching' ELSE u.status END,
        status_reason = CASE u.status WHEN 'stalled' THEN NULL ELSE u.status_reason END,
        status_since = CASE u.status WHEN 'stalled' THEN now() ELSE u.status_since END
    FROM before WHERE u.id = before.id AND (before.stalled_at IS NULL OR before.proven_at > before.stalled_at)
    RETURNING u.id, u.partner_id, before.stalled_at
),
-- The events: a stalled user has recovered.
events AS (
    SELECT partner_id, id AS user_id, :event_kind::text AS kind, NULL AS code, NULL AS reason
    FROM proven WHERE stalled_at IS NOT NULL
),
-- The rows of the events.
recorded_events AS (
    INSERT INTO user_events (partner_id, user_id, kind, code, reason)
    SELECT partner_id, user_id, kind, code, reason FROM events
    RETURNING id, partner_id, user_id
),
-- A delivery for each event whose partner has a URL for events. Its content is made from the event's row when it
-- is sent. Its id is a UUID version 7: milliseconds, the version, and the random rest of a version 4.
event_deliveries AS (
    INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind, event_id, content)
    SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
               || '7' || substr(gen_random_uuid()::text, 16))::uuid,
           v.partner_id, e.id, v.user_id, e.kind, v.id, ''
    FROM recorded_events v
    JOIN endpoints e ON e.partner_id = v.partner_id AND e.kind = 'events' AND e.url IS NOT NULL
)
SELECT id FROM proven;
