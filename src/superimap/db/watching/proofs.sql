-- Statements of proofs.py.

-- name: record_proofs!
-- :user_ids and :ages are arrays of equal length: users, and how many seconds ago their mail servers answered.
WITH
-- The users, locked in one order so that no two statements wait for each other, and the times of their proofs.
before AS (
    SELECT u.id, u.stalled_at, now() - make_interval(secs => p.age) AS proven_at
    FROM unnest(:user_ids::bigint[], :ages::float8[]) AS p(user_id, age) JOIN users u ON u.id = p.user_id
    ORDER BY u.id FOR NO KEY UPDATE OF u
),
-- The users after the change. A proof that is older than the stall does not end it.
proven AS (
    UPDATE users u SET last_proven_alive_at = greatest(u.last_proven_alive_at, before.proven_at),
        stalled_at = NULL,
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
SELECT count(*) FROM recorded_events;
