-- Statements of problems.py. None reads more rows than its limits say, however many users and deliveries there are.

-- name: troubled_groups
-- Troubled users by status and connection: one step of the recursion reads one entry of the index for each group.
WITH RECURSIVE found (status, connection_id, number) AS (
    (SELECT status, connection_id, 1 FROM troubled_users ORDER BY status, connection_id LIMIT 1)
    UNION ALL
    SELECT following.status, following.connection_id, found.number + 1
    FROM found CROSS JOIN LATERAL (
        SELECT t.status, t.connection_id FROM troubled_users t
        WHERE (t.status, t.connection_id) > (found.status, found.connection_id)
        ORDER BY t.status, t.connection_id LIMIT 1
    ) following
    WHERE found.number < :groups::int
)
SELECT f.status, f.connection_id, c.partner_id, p.name AS partner, v.code AS provider, v.title AS provider_title,
    counted.users, recent.users AS recent, first.since AS first_since, last.since AS last_since, last.user_id
FROM found f
JOIN connections c ON c.id = f.connection_id
JOIN partners p ON p.id = c.partner_id
JOIN providers v ON v.id = c.provider_id
CROSS JOIN LATERAL (
    SELECT count(*)::int AS users FROM (
        SELECT FROM troubled_users t WHERE t.status = f.status AND t.connection_id = f.connection_id
        LIMIT :most::int + 1
    ) counted_rows
) counted
CROSS JOIN LATERAL (
    SELECT count(*)::int AS users FROM (
        SELECT FROM troubled_users t
        WHERE t.status = f.status AND t.connection_id = f.connection_id AND t.since > now() - interval '1 hour'
        LIMIT :most::int + 1
    ) counted_rows
) recent
CROSS JOIN LATERAL (
    SELECT t.since FROM troubled_users t WHERE t.status = f.status AND t.connection_id = f.connection_id
    ORDER BY t.since LIMIT 1
) first
CROSS JOIN LATERAL (
    SELECT t.since, t.user_id FROM troubled_users t
    WHERE t.status = f.status AND t.connection_id = f.connection_id ORDER BY t.since DESC LIMIT 1
) last;

-- name: reasons
-- The reasons of the users that came last into each group, the most frequent first.
SELECT g.status, g.connection_id, latest.reason, count(*)::int AS users
FROM unnest(:statuses::text[], :connection_ids::bigint[]) AS g (status, connection_id)
CROSS JOIN LATERAL (
    SELECT coalesce(u.status_reason, '') AS reason FROM (
        SELECT t.user_id FROM troubled_users t
        WHERE t.status = g.status AND t.connection_id = g.connection_id ORDER BY t.since DESC LIMIT :sample::int
    ) t JOIN users u ON u.id = t.user_id
) latest
GROUP BY g.status, g.connection_id, latest.reason ORDER BY count(*) DESC;

-- name: unreachable_by_provider
-- Users in these statuses by provider: one step of the recursion reads one entry of the index for each connection
-- with such users.
WITH RECURSIVE found (status, connection_id, number) AS (
    (SELECT s.status, following.connection_id, 1
    FROM unnest(:statuses::text[]) AS s (status) CROSS JOIN LATERAL (
        SELECT t.connection_id FROM troubled_users t WHERE t.status = s.status ORDER BY t.connection_id LIMIT 1
    ) following)
    UNION ALL
    SELECT found.status, following.connection_id, found.number + 1
    FROM found CROSS JOIN LATERAL (
        SELECT t.connection_id FROM troubled_users t
        WHERE t.status = found.status AND t.connection_id > found.connection_id
        ORDER BY t.connection_id LIMIT 1
    ) following
    WHERE found.number < :groups::int
)
SELECT c.provider_id, sum(counted.users)::int AS users
FROM found f
JOIN connections c ON c.id = f.connection_id
CROSS JOIN LATERAL (
    SELECT count(*) AS users FROM (
        SELECT FROM troubled_users t WHERE t.status = f.status AND t.connection_id = f.connection_id
        LIMIT :most::int + 1
    ) counted_rows
) counted
GROUP BY c.provider_id;

-- name: late_endpoints
-- Endpoints with pending deliveries, each with the delivery that is due first. Late is an endpoint with a delivery that
-- nobody sends: it is found behind those that are being sent, which are few.
WITH RECURSIVE found (endpoint_id, due_at, number) AS (
    (SELECT endpoint_id, due_at, 1 FROM deliveries WHERE state = 'pending' ORDER BY endpoint_id, due_at LIMIT 1)
    UNION ALL
    SELECT following.endpoint_id, following.due_at, found.number + 1
    FROM found CROSS JOIN LATERAL (
        SELECT d.endpoint_id, d.due_at FROM deliveries d
        WHERE d.state = 'pending' AND d.endpoint_id > found.endpoint_id
        ORDER BY d.endpoint_id, d.due_at LIMIT 1
    ) following
    WHERE found.number < :groups::int
)
SELECT e.id, e.kind, e.partner_id, p.name AS partner, e.breaker, e.failing_since, e.disabled_at, e.disabled_reason,
    e.probe_at, coalesce(unsent.due_at, f.due_at) AS due_at, counted.deliveries, unsent.due_at IS NOT NULL AS is_late
FROM found f
JOIN endpoints e ON e.id = f.endpoint_id
JOIN partners p ON p.id = e.partner_id
CROSS JOIN LATERAL (
    SELECT count(*)::int AS deliveries FROM (
        SELECT FROM deliveries d WHERE d.endpoint_id = e.id AND d.state = 'pending' AND d.due_at < now()
        LIMIT :most::int + 1
    ) counted_rows
) counted
LEFT JOIN LATERAL (
    SELECT d.due_at FROM deliveries d
    WHERE d.endpoint_id = e.id AND d.state = 'pending' AND d.due_at < now() - :late::interval AND NOT EXISTS (
        SELECT FROM delivery_leases l
        WHERE l.endpoint_id = d.endpoint_id AND l.delivery_id = d.id AND l.lease_until > now())
    ORDER BY d.due_at LIMIT 1
) unsent ON true
WHERE e.breaker <> 'closed' OR e.disabled_at IS NOT NULL OR unsent.due_at IS NOT NULL
ORDER BY f.due_at;

-- name: troubled_endpoints
-- Endpoints that fail or are disabled, whether or not something is due to them.
SELECT e.id, e.kind, e.partner_id, p.name AS partner, e.breaker, e.failing_since, e.disabled_at, e.disabled_reason
FROM endpoints e JOIN partners p ON p.id = e.partner_id
WHERE e.breaker <> 'closed' OR e.disabled_at IS NOT NULL OR e.failing_since IS NOT NULL
ORDER BY e.id LIMIT :groups::int;
