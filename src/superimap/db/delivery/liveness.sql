-- Statements of liveness.py.

-- name: mark_stalled$
WITH
-- The users of each voucher whose mail servers have answered within this time: the intervals of a voucher together.
vouched AS MATERIALIZED (
    SELECT voucher, length(proven) AS places, bit_or(proven) AS proven FROM vouches
    WHERE since >= now() - make_interval(secs => :after) GROUP BY voucher, length(proven)
),
-- The users who should be watched and whose mail servers gave no proof of life for :after seconds. The time
-- counts from the latest of the proof, the (re)connection by the person, the end of a wait, and the start of
-- `connecting`.
due AS (
    SELECT u.id FROM users u
    WHERE u.shard BETWEEN :first AND :last AND NOT u.archived AND u.connected_at IS NOT NULL AND u.stalled_at IS NULL
      AND u.status = ANY(:statuses::text[])
      AND greatest(u.last_proven_alive_at, u.connected_at, u.retry_at,
                   CASE WHEN u.status = 'connecting' THEN u.status_since END)
          < now() - make_interval(secs => :after)
      AND NOT EXISTS (
          SELECT FROM vouched v WHERE v.voucher = u.vouched_by
          AND CASE WHEN u.vouch_slot < v.places THEN get_bit(v.proven, u.vouch_slot) = 1 ELSE false END
      )
    LIMIT :limit FOR NO KEY UPDATE OF u SKIP LOCKED
),
-- The users after the change, looked up by id: a join could read all users. A reason that is there already says more.
stalled AS (
    UPDATE users u SET status = 'stalled', status_since = now(), stalled_at = now(),
        last_proven_alive_at = proven_alive_at(u.last_proven_alive_at, u.vouched_by, u.vouch_slot),
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

-- name: find_ended_vouchers
-- Vouchers that have not reported for :silence seconds.
SELECT voucher FROM vouches GROUP BY voucher
HAVING max(reported_at) < now() - make_interval(secs => :silence);

-- name: keep_vouched$
WITH
-- Those of the vouchers that have not reported again.
ended AS MATERIALIZED (
    SELECT v.voucher FROM unnest(:vouchers::bigint[]) AS v(voucher) WHERE NOT EXISTS (
        SELECT FROM vouches r
        WHERE r.voucher = v.voucher AND r.reported_at >= now() - make_interval(secs => :silence)
    )
),
-- Users for whom one of them was the last that vouched, locked in one order.
due AS (
    SELECT id FROM users
    WHERE shard BETWEEN :first AND :last AND NOT archived AND connected_at IS NOT NULL
      AND vouched_by = ANY(ARRAY(SELECT voucher FROM ended))
    ORDER BY id LIMIT :limit FOR NO KEY UPDATE
),
-- The users after the change: what was vouched is written to them, and nothing vouches for them.
kept AS (
    UPDATE users u SET
        last_proven_alive_at = proven_alive_at(u.last_proven_alive_at, u.vouched_by, u.vouch_slot),
        vouched_by = NULL, vouch_slot = NULL
    WHERE u.id = ANY(ARRAY(SELECT id FROM due))
    RETURNING 1
)
SELECT count(*) FROM kept;

-- name: delete_vouches!
-- Only if the voucher has not reported again.
DELETE FROM vouches v WHERE v.voucher = ANY(:vouchers::bigint[]) AND NOT EXISTS (
    SELECT FROM vouches r WHERE r.voucher = v.voucher AND r.reported_at >= now() - make_interval(secs => :silence)
);

-- name: delete_old_events!
-- OFFSET 0 keeps the subquery apart: joined, it would read all unsettled deliveries.
DELETE FROM user_events WHERE id = ANY(ARRAY(
    SELECT v.id FROM user_events v
    WHERE v.at < now() - make_interval(secs => :days * 86400) AND NOT EXISTS (
        SELECT FROM deliveries d WHERE d.event_id = v.id AND d.state IN ('pending', 'sending') OFFSET 0
    )
    ORDER BY v.at LIMIT :limit FOR UPDATE SKIP LOCKED
));

-- name: delete_old_protocol_logs!
-- Logs that ended :days days ago, with their lines; there are few.
DELETE FROM protocol_logs WHERE ends_at < now() - make_interval(secs => :days * 86400);
