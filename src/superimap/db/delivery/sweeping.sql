-- Statements of sweeping.py. Each changes at most :limit rows and skips those that another transaction has locked.

-- name: survey_leases^
WITH
-- The dispatchers that hold deliveries, except those that hold their advisory lock (:space, number).
absent AS (
    SELECT holder FROM delivery_leases WHERE holder IS NOT NULL
    GROUP BY holder
    EXCEPT
    SELECT objid::bigint::int FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND classid::bigint = :space AND objsubid = 2
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
-- Claims of dispatchers from before version 0035 changed the delivery's state. Nearly always there are none.
SELECT EXISTS (SELECT FROM delivery_leases WHERE lease_until < now())
    OR EXISTS (SELECT FROM deliveries WHERE state = 'sending' AND lease_until < now()),
    ARRAY(SELECT holder FROM absent);

-- name: release_expired!
DELETE FROM delivery_leases WHERE (endpoint_id, delivery_id) IN (
    SELECT endpoint_id, delivery_id FROM delivery_leases WHERE lease_until < now()
    LIMIT :limit FOR UPDATE SKIP LOCKED
);

-- name: release_old_claims!
UPDATE deliveries SET state = 'pending', lease_until = NULL, lease_token = NULL, holder = NULL
WHERE (id, partner_id) IN (
    SELECT id, partner_id FROM deliveries WHERE state = 'sending' AND lease_until < now()
    LIMIT :limit FOR UPDATE SKIP LOCKED
);

-- name: end_silent_holder$
-- End the connection that holds the advisory lock :key, if PostgreSQL has waited for its client for :after seconds.
-- No timeout ends a connection of a stopped process that is between the messages of one statement.
SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND (classid::bigint << 32) | objid::bigint = :key
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND wait_event = 'ClientRead' AND state_change < now() - make_interval(secs => :after);

-- name: release_held!
DELETE FROM delivery_leases WHERE (endpoint_id, delivery_id) IN (
    SELECT endpoint_id, delivery_id FROM delivery_leases WHERE holder = ANY(:holders::int[])
    LIMIT :limit FOR UPDATE SKIP LOCKED
);

-- name: list_overdue
WITH RECURSIVE
-- The endpoints with a pending delivery. A skip scan: one probe of the index for each, where DISTINCT would read
-- every due row.
loaded AS (
    (SELECT endpoint_id FROM deliveries WHERE state = 'pending' ORDER BY endpoint_id LIMIT 1)
    UNION ALL
    SELECT n.endpoint_id FROM loaded l, LATERAL (
        SELECT endpoint_id FROM deliveries WHERE state = 'pending' AND endpoint_id > l.endpoint_id
        ORDER BY endpoint_id LIMIT 1
    ) n
),
-- The oldest of each that nobody sends, if it is due. It is found behind those that are being sent, which are few.
oldest AS (
    SELECT l.endpoint_id, n.due_at FROM loaded l, LATERAL (
        SELECT d.due_at FROM deliveries d
        WHERE d.endpoint_id = l.endpoint_id AND d.state = 'pending' AND d.due_at <= now() AND NOT EXISTS (
            SELECT FROM delivery_leases s
            WHERE s.endpoint_id = l.endpoint_id AND s.delivery_id = d.id AND s.lease_until > now())
        ORDER BY d.due_at LIMIT 1
    ) n
),
-- The endpoints that may be sent to and have a delivery due. Unhealthy: two failures in a row, or a breaker that
-- is not closed. Busy: two POSTs in flight.
found AS (
    SELECT o.endpoint_id, e.partner_id, extract(epoch FROM now() - o.due_at)::float8 AS late,
        e.failures > 1 OR e.breaker <> 'closed' AS is_unhealthy,
        (SELECT count(*) FROM (
            SELECT FROM delivery_leases s WHERE s.endpoint_id = o.endpoint_id LIMIT 2
        ) under_way) > 1 AS is_busy
    FROM oldest o JOIN endpoints e ON e.id = o.endpoint_id
    WHERE e.url IS NULL OR e.disabled_at IS NULL AND (e.probe_at IS NULL OR e.probe_at <= now())
),
-- The same in a random order: `place` among the endpoints of the partner, `lot` among those of the same health.
drawn AS (
    SELECT *, row_number() OVER (PARTITION BY partner_id, is_busy ORDER BY random()) AS place,
        row_number() OVER (PARTITION BY is_unhealthy, is_busy ORDER BY random()) AS lot
    FROM found
)
SELECT endpoint_id, late, place <= :per_partner AND (lot <= :unhealthy OR NOT (is_unhealthy OR is_busy))
    AND NOT (is_unhealthy AND is_busy) FROM drawn
ORDER BY late DESC, endpoint_id;

-- name: fail_disabled!
UPDATE deliveries SET state = 'failed', settled_at = now(), last_error = 'endpoint_disabled'
WHERE (id, partner_id) IN (
    SELECT d.id, d.partner_id FROM endpoints e JOIN deliveries d ON d.endpoint_id = e.id
    WHERE e.disabled_at < now() - make_interval(secs => :days * 86400) AND d.state = 'pending'
    LIMIT :limit FOR UPDATE OF d SKIP LOCKED
);

-- name: erase_old_content!
-- In the order of the index, so that each batch reads only what it erases.
UPDATE deliveries SET content = NULL WHERE (id, partner_id) IN (
    SELECT id, partner_id FROM deliveries
    WHERE settled_at < now() - make_interval(secs => :days * 86400)
        AND state IN ('failed', 'cancelled') AND content IS NOT NULL
    ORDER BY settled_at LIMIT :limit FOR UPDATE SKIP LOCKED
);

-- name: delete_old_deliveries!
-- In the order of the index, so that each batch reads only what it deletes.
DELETE FROM deliveries WHERE (id, partner_id) IN (
    SELECT id, partner_id FROM deliveries WHERE settled_at < now() - make_interval(secs => :days * 86400)
    ORDER BY settled_at LIMIT :limit FOR UPDATE SKIP LOCKED
);

-- name: delete_old_messages^
WITH
-- The next messages in the order of their ids, which is that of their creation. An index on the time would have to
-- be written with each mail.
page AS MATERIALIZED (
    SELECT id, partner_id, created_at < now() - make_interval(secs => :days * 86400) AS is_old
    FROM messages WHERE id > :after ORDER BY id LIMIT :limit
),
-- Those that may be deleted. OFFSET 0 keeps the subquery apart: joined, it would read all unsettled deliveries.
chosen AS MATERIALIZED (
    SELECT m.id, m.partner_id FROM page p JOIN messages m ON m.id = p.id AND m.partner_id = p.partner_id
    WHERE p.is_old AND m.outcome <> 'deferred' AND NOT EXISTS (
        SELECT FROM deliveries d WHERE d.message_id = p.id AND d.state IN ('pending', 'sending') OFFSET 0
    )
    FOR UPDATE OF m SKIP LOCKED
),
-- Their rows, with the deliveries that are left.
deleted AS (
    DELETE FROM messages m USING chosen c WHERE m.id = c.id AND m.partner_id = c.partner_id RETURNING m.id
)
SELECT (SELECT count(*) FROM deleted), (SELECT max(id) FROM page WHERE is_old);
