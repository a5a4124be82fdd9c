-- Statements of backlogs.py. The backlog of a partner are its deliveries in the state `pending`.

-- name: list_partners
WITH RECURSIVE
-- The endpoints with a backlog. A skip scan: one probe of the index for each.
loaded AS (
    (SELECT endpoint_id FROM deliveries WHERE state = 'pending' ORDER BY endpoint_id LIMIT 1)
    UNION ALL
    SELECT n.endpoint_id FROM loaded l, LATERAL (
        SELECT endpoint_id FROM deliveries WHERE state = 'pending' AND endpoint_id > l.endpoint_id
        ORDER BY endpoint_id LIMIT 1
    ) n
)
SELECT e.partner_id FROM loaded l JOIN endpoints e ON e.id = l.endpoint_id
UNION
SELECT partner_id FROM partner_usage WHERE quota IN ('backlog_rows', 'backlog_bytes')
ORDER BY partner_id;

-- name: measure$
WITH
-- The quotas in force.
quotas AS (
    SELECT d.quota, coalesce(q.maximum, d.maximum) AS maximum
    FROM (VALUES ('backlog_rows', :max_rows::bigint), ('backlog_bytes', :max_bytes::bigint)) AS d(quota, maximum)
    LEFT JOIN partner_quotas q ON q.partner_id = :partner_id AND q.quota = d.quota
),
-- The backlog, counted up to the quota of rows for each endpoint. octet_length reads no content. Content of 25 bytes
-- refers to an object, and ends with the size of that.
backlog AS (
    SELECT count(*) AS rows, coalesce(sum(CASE octet_length(p.content)
        WHEN 25 THEN ('x' || encode(substr(p.content, 18), 'hex'))::bit(64)::bigint
        ELSE octet_length(p.content) END), 0)::bigint AS bytes
    FROM endpoints e CROSS JOIN LATERAL (
        SELECT d.content FROM deliveries d WHERE d.endpoint_id = e.id AND d.state = 'pending'
        LIMIT (SELECT maximum FROM quotas WHERE quota = 'backlog_rows')
    ) p WHERE e.partner_id = :partner_id
),
-- What is used of each quota.
used AS (
    SELECT q.quota, q.maximum, CASE q.quota WHEN 'backlog_rows' THEN b.rows ELSE b.bytes END AS used
    FROM quotas q, backlog b
),
-- Below a tenth of a quota there is no row, so that ordinary backlogs cause no writes.
removed AS (
    DELETE FROM partner_usage u USING used
    WHERE u.partner_id = :partner_id AND u.quota = used.quota AND used.used * 10 < used.maximum
),
-- A quota that is reached holds the partner's mails back, until the backlog is below nine tenths of it.
recorded AS (
    INSERT INTO partner_usage (partner_id, quota, maximum, room, held_since)
    SELECT p.id, u.quota, u.maximum, greatest(u.maximum - u.used, 0), CASE WHEN u.used >= u.maximum THEN now() END
    FROM used u JOIN partners p ON p.id = :partner_id WHERE u.used * 10 >= u.maximum
    ON CONFLICT (partner_id, quota) DO UPDATE SET maximum = excluded.maximum, room = excluded.room,
        held_since = CASE WHEN excluded.room = 0 THEN coalesce(partner_usage.held_since, now())
                          WHEN excluded.room * 10 > excluded.maximum THEN NULL
                          ELSE partner_usage.held_since END
    WHERE (partner_usage.maximum, partner_usage.room) IS DISTINCT FROM (excluded.maximum, excluded.room)
)
SELECT rows FROM backlog;

-- name: count_at_quota
SELECT quota, count(*) FROM partner_usage WHERE room = 0 GROUP BY quota;

-- name: count_dead_letters$
WITH RECURSIVE
-- The partners with deliveries that failed or were cancelled. A skip scan: one probe of the index for each state.
ended (partner_id, state) AS (
    (SELECT partner_id, state FROM deliveries WHERE state IN ('failed', 'cancelled')
     ORDER BY partner_id, state LIMIT 1)
    UNION ALL
    SELECT n.partner_id, n.state FROM ended e, LATERAL (
        SELECT partner_id, state FROM deliveries
        WHERE state IN ('failed', 'cancelled') AND (partner_id, state) > (e.partner_id, e.state)
        ORDER BY partner_id, state LIMIT 1
    ) n
)
SELECT coalesce(sum(counted.deliveries), 0)::bigint
FROM ended e CROSS JOIN LATERAL (
    SELECT count(*) AS deliveries FROM (
        SELECT FROM deliveries d WHERE d.partner_id = e.partner_id AND d.state = 'failed' LIMIT :most
    ) failed
) counted
WHERE e.state = 'failed';

-- name: count_troubled_endpoints
SELECT CASE WHEN disabled_at IS NOT NULL THEN 'disabled' ELSE breaker END AS state, count(*)
FROM endpoints WHERE breaker <> 'closed' OR disabled_at IS NOT NULL GROUP BY 1;

-- name: count_tracer_mailboxes$
-- As choose_tracer_user chooses them, from the same index.
SELECT count(*) FROM (
    SELECT FROM users u JOIN connections c ON c.id = u.connection_id JOIN providers p ON p.id = c.provider_id
    WHERE u.enable_tracer AND NOT u.archived AND u.connected_at IS NOT NULL
      AND (p.tracer_by = 'smtp' OR p.tracer_by = 'append' AND EXISTS (
          SELECT FROM endpoints e WHERE e.partner_id = u.partner_id AND e.kind = 'new_mail' AND e.url = :sink_url
      ))
    LIMIT :most
) found;
