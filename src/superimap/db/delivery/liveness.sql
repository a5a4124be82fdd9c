-- Statements of liveness.py.

-- name: mark_stalled$
WITH
-- The users who should be watched and whose mail servers gave no proof of life for :after seconds. The time
-- counts from the latest of the proof, the (re)connection by the person, the end of a wait, and the start of
-- `connecting`.
due AS (
    SELECT id FROM users
    WHERE shard BETWEEN :first AND :last AND NOT archived AND connected_at IS NOT NULL AND stalled_at IS NULL
      AND status = ANY(:statuses::text[])
      AND greatest(last_proven_alive_at, connected_at, retry_at,
                   CASE WHEN status = 'connecting' THEN status_since END)
          < now() - make_interval(secs => :after)
    LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
),
-- The users after the change, looked up by id: a join could read all users. A reason that is there already says more.
stalled AS (
    UPDATE users u SET status = 'stalled', status_since = now(), stalled_at = now(),
        status_reason = coalesce(u.status_reason, CASE
            WHEN u.status = 'connecting' THEN 'no session has been established yet'
            ELSE 'no idler has received anything from the mail server' END)
    WHERE u.id = ANY(ARRAY(SELECT id FROM due))
    RETURNING u.id, u.partner_id, u.status_reason
),
-- The events.
events AS (
    SELECT partner_id, id AS user_id, :event_kind::text AS kind, NULL AS code, status_reason AS reason FROM stalled
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

-- name: delete_old_events!
-- OFFSET 0 keeps the subquery apart: joined, it would read all unsettled deliveries.
DELETE FROM user_events WHERE id = ANY(ARRAY(
    SELECT v.id FROM user_events v
    WHERE v.at < now() - make_interval(secs => :days * 86400) AND NOT EXISTS (
        SELECT FROM deliveries d WHERE d.event_id = v.id AND d.state IN ('pending', 'sending') OFFSET 0
    )
    ORDER BY v.at LIMIT :limit FOR UPDATE SKIP LOCKED
));
