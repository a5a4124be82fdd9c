-- Statements of dispatchers.py.

-- name: list_dispatchers
-- Each dispatcher holds an advisory lock on a number of its own, and its leases carry the number. Leases are as many
-- as POSTs in flight. What pg_stat_activity says of another role's connections is hidden from some roles.
WITH
-- The dispatchers that are connected.
present AS (
    SELECT l.objid::bigint::int AS number, a.backend_start AS connected_at, host(a.client_addr) AS address
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.classid::bigint = :space AND l.objsubid = 2
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
),
-- The POSTs in flight of each.
sending AS (
    SELECT holder AS number, count(*)::int AS posts FROM delivery_leases WHERE lease_until > now() GROUP BY holder
)
SELECT coalesce(p.number, s.number) AS number, p.number IS NOT NULL AS is_present, p.connected_at, p.address,
    coalesce(s.posts, 0) AS posts
FROM present p FULL JOIN sending s ON s.number = p.number
ORDER BY p.connected_at, number
LIMIT :limit;
