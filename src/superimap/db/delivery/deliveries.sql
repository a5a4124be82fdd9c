-- Statements of deliveries.py. All times are PostgreSQL's.

-- name: claim_deliveries
-- Nothing is committed before the client has read all but the last of the answer, and a client whose event loop
-- is blocked reads nothing. So the answer is kept small enough for the socket buffers (:max_content_bytes): otherwise
-- other claims would wait for the lock.
WITH
-- The endpoint, and how many deliveries may be claimed now (`room`). An endpoint without a URL sends nothing:
-- what is due there is cancelled, 1000 at a time. -1 means that the endpoint is unhealthy, and the caller asked
-- for healthy ones. Otherwise `room` is what remains of the limits after the POSTs in flight in all processes. Of
-- two claims for the endpoint at once, the second waits in under_way() for the first, and counts what it took
-- (migration 0013).
target AS (
    SELECT e.id, e.url, e.setbacks, e.failures = 0 AND e.breaker = 'closed' AS is_healthy,
        e.url IS NOT NULL AND e.breaker = 'open' AS is_open,
        CASE WHEN e.url IS NULL THEN 1000
        WHEN e.disabled_at IS NOT NULL OR e.probe_at > now() THEN 0
        WHEN NOT :include_unhealthy AND (e.failures > 1 OR e.breaker <> 'closed') THEN -1
        ELSE greatest(0, least(:limit,
            CASE e.breaker WHEN 'open' THEN 1 ELSE least(:max_posts, e.width) END - under_way(e.id)
        )) END AS room
    FROM endpoints e WHERE e.id = :endpoint_id
),
-- An open breaker admits one probe. Moving `probe_at` past the probe's lease reserves it: of two claims at once,
-- the second finds it moved.
probe AS (
    UPDATE endpoints e SET probe_at = now() + make_interval(secs => :lease) FROM target t
    WHERE e.id = t.id AND t.is_open AND t.room > 0 AND (e.probe_at IS NULL OR e.probe_at <= now())
        AND e.breaker = 'open' AND EXISTS (
            SELECT FROM deliveries d
            WHERE d.endpoint_id = :endpoint_id AND d.state = 'pending' AND d.due_at <= now())
    RETURNING e.id
),
-- The due deliveries that nobody sends, oldest first; those that another claim has locked are skipped.
due AS (
    SELECT d.id, d.partner_id, d.user_id, d.kind, d.attempts, d.attempts_before, d.due_at, d.event_id, d.created_at,
        d.content
    FROM deliveries d
    WHERE d.endpoint_id = :endpoint_id AND d.state = 'pending' AND d.due_at <= now() AND NOT EXISTS (
        SELECT FROM delivery_leases l
        WHERE l.endpoint_id = :endpoint_id AND l.delivery_id = d.id AND l.lease_until > now())
    ORDER BY d.due_at
    LIMIT (SELECT CASE WHEN t.is_open THEN (SELECT count(*) FROM probe) ELSE greatest(t.room, 0) END
        FROM target t)
    FOR NO KEY UPDATE OF d SKIP LOCKED
),
-- Their leases. A claim that began before another one committed finds the other's lease only here: then it has lost
-- the delivery, and the caller claims again.
leased AS (
    INSERT INTO delivery_leases (endpoint_id, delivery_id, lease_until, token, holder)
    SELECT :endpoint_id, due.id, now() + make_interval(secs => :lease), :token::uuid, :holder::int
    FROM due, target t WHERE t.url IS NOT NULL
    ON CONFLICT (endpoint_id, delivery_id) DO UPDATE
        SET lease_until = excluded.lease_until, token = excluded.token, holder = excluded.holder
        WHERE delivery_leases.lease_until <= now()
    RETURNING delivery_id AS id
),
-- Where there is no URL, they are cancelled.
cancelled AS (
    UPDATE deliveries d SET state = 'cancelled', settled_at = now(), last_error = 'no_url'
    FROM due, target t WHERE d.id = due.id AND d.partner_id = due.partner_id AND t.url IS NULL
    RETURNING d.id
),
-- The deliveries of this claim.
claimed AS (
    SELECT due.* FROM due JOIN (SELECT id FROM leased UNION ALL SELECT id FROM cancelled) taken USING (id)
)
-- One row at least if the endpoint exists. Content that is too big for the answer is left out of all rows, and
-- read by fetch_contents after the commit.
SELECT t.room, t.url, t.is_healthy, t.setbacks, (SELECT count(*) FROM due) AS due, c.id, c.partner_id, c.user_id, c.kind, c.attempts,
    c.attempts_before, c.event_id, c.created_at,
    extract(epoch FROM clock_timestamp() - c.created_at)::float8 AS age, size.is_big, CASE WHEN NOT size.is_big THEN c.content END AS content
FROM target t LEFT JOIN claimed c ON true,
    (SELECT sum(octet_length(content)) > :max_content_bytes FROM claimed) size(is_big)
ORDER BY c.due_at;

-- name: fetch_contents
SELECT d.id, d.content FROM delivery_leases l JOIN deliveries d ON d.id = l.delivery_id AND d.partner_id = :partner_id
WHERE l.endpoint_id = :endpoint_id AND l.delivery_id = ANY(:ids::uuid[]) AND l.token = :token;

-- name: settle_attempts
-- The parameters from :id to :attempt_id are arrays with one element for each attempt.
WITH
-- The attempts, as rows.
given AS (
    SELECT * FROM unnest(
        :id::uuid[], :partner_id::bigint[], :endpoint_id::bigint[], :token::uuid[], :number::int[],
        :outcome::text[], :age::float8[], :milliseconds::int[], :code::int[], :error::text[], :body::bytea[],
        :delay::float8[], :attempt_id::uuid[]
    ) AS g(id, partner_id, endpoint_id, token, number, outcome, age, milliseconds, code, error, body, delay, attempt_id)
),
-- The leases of the claims, which end. Another claim may hold the lease by now.
released AS (
    DELETE FROM delivery_leases l USING given g
    WHERE l.endpoint_id = g.endpoint_id AND l.delivery_id = g.id AND l.token = g.token
    RETURNING l.delivery_id AS id
),
-- The deliveries. A success counts whatever the token, because the receiver has the webhook. A failure counts only
-- while the lease is still that of the claim: otherwise it would reset a delivery that another process is sending.
settled AS (
    UPDATE deliveries d SET
        state = CASE g.outcome WHEN 'delivered' THEN 'delivered' WHEN 'retry' THEN 'pending' ELSE 'failed' END,
        attempts = greatest(d.attempts, g.number),
        content = CASE WHEN g.outcome = 'retry' OR g.outcome <> 'delivered' AND :keep_failed THEN d.content END,
        due_at = CASE g.outcome WHEN 'retry' THEN now() + make_interval(secs => g.delay) ELSE d.due_at END,
        settled_at = CASE g.outcome WHEN 'retry' THEN NULL ELSE now() END,
        lease_until = NULL, lease_token = NULL, holder = NULL, last_code = g.code, last_error = g.error
    FROM given g LEFT JOIN released r ON r.id = g.id
    WHERE d.id = g.id AND d.partner_id = g.partner_id
        AND CASE g.outcome WHEN 'delivered' THEN d.state <> 'delivered'
            ELSE d.state = 'pending' AND r.id IS NOT NULL END
    RETURNING d.user_id, g.outcome
),
-- The history, which has every attempt whether it counts or not. A repeated settlement adds nothing.
recorded AS (
    INSERT INTO attempts
        (id, partner_id, delivery_id, number, started_at, milliseconds, code, error, body)
    SELECT g.attempt_id, g.partner_id, g.id, g.number, now() - make_interval(secs => g.age), g.milliseconds,
        g.code, g.error, g.body
    FROM given g JOIN deliveries d ON d.id = g.id AND d.partner_id = g.partner_id
    ON CONFLICT (id) DO NOTHING
)
SELECT FROM settled WHERE false;

-- name: settle_attempts_and_archive
-- As settle_attempts, and a delivery whose outcome is `archive` archives its user. A statement of its own, because
-- the last four CTEs cost a twentieth of the statement even when there is nothing to archive.
WITH
-- The attempts, as rows.
given AS (
    SELECT * FROM unnest(
        :id::uuid[], :partner_id::bigint[], :endpoint_id::bigint[], :token::uuid[], :number::int[],
        :outcome::text[], :age::float8[], :milliseconds::int[], :code::int[], :error::text[], :body::bytea[],
        :delay::float8[], :attempt_id::uuid[]
    ) AS g(id, partner_id, endpoint_id, token, number, outcome, age, milliseconds, code, error, body, delay, attempt_id)
),
-- The leases of the claims, which end. Another claim may hold the lease by now.
released AS (
    DELETE FROM delivery_leases l USING given g
    WHERE l.endpoint_id = g.endpoint_id AND l.delivery_id = g.id AND l.token = g.token
    RETURNING l.delivery_id AS id
),
-- The deliveries. A success counts whatever the token, because the receiver has the webhook. A failure counts only
-- while the lease is still that of the claim: otherwise it would reset a delivery that another process is sending.
settled AS (
    UPDATE deliveries d SET
        state = CASE g.outcome WHEN 'delivered' THEN 'delivered' WHEN 'retry' THEN 'pending' ELSE 'failed' END,
        attempts = greatest(d.attempts, g.number),
        content = CASE WHEN g.outcome = 'retry' OR g.outcome <> 'delivered' AND :keep_failed THEN d.content END,
        due_at = CASE g.outcome WHEN 'retry' THEN now() + make_interval(secs => g.delay) ELSE d.due_at END,
        settled_at = CASE g.outcome WHEN 'retry' THEN NULL ELSE now() END,
        lease_until = NULL, lease_token = NULL, holder = NULL, last_code = g.code, last_error = g.error
    FROM given g LEFT JOIN released r ON r.id = g.id
    WHERE d.id = g.id AND d.partner_id = g.partner_id
        AND CASE g.outcome WHEN 'delivered' THEN d.state <> 'delivered'
            ELSE d.state = 'pending' AND r.id IS NOT NULL END
    RETURNING d.user_id, g.outcome
),
-- The history, which has every attempt whether it counts or not. A repeated settlement adds nothing.
recorded AS (
    INSERT INTO attempts
        (id, partner_id, delivery_id, number, started_at, milliseconds, code, error, body)
    SELECT g.attempt_id, g.partner_id, g.id, g.number, now() - make_interval(secs => g.age), g.milliseconds,
        g.code, g.error, g.body
    FROM given g JOIN deliveries d ON d.id = g.id AND d.partner_id = g.partner_id
    ON CONFLICT (id) DO NOTHING
),
-- The users to archive, except those with tracers, which are the operator's own.
archived AS (
    UPDATE users u SET archived = true, status = 'archived', status_since = now(),
        status_reason = 'the application answered 403'
    WHERE u.id IN (SELECT s.user_id FROM settled s WHERE s.outcome = 'archive')
        AND NOT u.enable_tracer AND NOT u.archived
    RETURNING u.id, u.partner_id, u.shard, u.status_reason
),
-- The events.
events AS (
    SELECT partner_id, id AS user_id, :archived_kind::text AS kind, :archived_code::text AS code,
        status_reason AS reason
    FROM archived
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
-- One row for each archived user; its idler is notified.
SELECT pg_notify(:users_channel, shard::text) FROM archived;
