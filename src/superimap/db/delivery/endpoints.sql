-- Statements of endpoints.py.

-- name: read_partner$
SELECT partner_id FROM endpoints WHERE id = :endpoint_id;

-- name: lock_healths
SELECT clock_timestamp(), id,
    failures, failing_since, breaker, width, setbacks, probe_at, disabled_at, disabled_reason
FROM endpoints WHERE id = ANY(:ids::bigint[])
ORDER BY id FOR NO KEY UPDATE SKIP LOCKED;

-- name: list_existing
SELECT id FROM endpoints WHERE id = ANY(:ids::bigint[]);

-- name: update_healths!
-- All parameters are arrays with one element for each endpoint (the fields of `EndpointHealth`).
UPDATE endpoints e SET failures = g.failures, failing_since = g.failing_since, breaker = g.breaker,
    width = g.width, setbacks = g.setbacks, probe_at = g.probe_at, disabled_at = g.disabled_at,
    disabled_reason = g.disabled_reason
FROM unnest(
    :ids::bigint[], :failures::int[], :failing_since::timestamptz[], :breaker::text[], :width::int[],
    :setbacks::int[], :probe_at::timestamptz[], :disabled_at::timestamptz[], :disabled_reason::text[]
) AS g(id, failures, failing_since, breaker, width, setbacks, probe_at, disabled_at, disabled_reason)
WHERE e.id = g.id;
