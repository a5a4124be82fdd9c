-- Statements of tracers.py. All times are PostgreSQL's.

-- name: record_delivery!
UPDATE tracers SET claimed_at = now() - make_interval(secs => :claimed_ago::float8),
    posted_at = now() - make_interval(secs => :posted_ago::float8),
    acknowledged_at = now() - make_interval(secs => :acknowledged_ago::float8)
WHERE delivery_id = :delivery AND partner_id = :partner_id AND acknowledged_at IS NULL;

-- name: delete_old_tracers!
DELETE FROM tracers WHERE id IN (
    SELECT id FROM tracers WHERE created_at < now() - make_interval(secs => :days * 86400)
    ORDER BY created_at LIMIT :limit FOR UPDATE SKIP LOCKED
);

-- name: delete_old_days!
DELETE FROM tracer_days WHERE (provider_id, day) IN (
    SELECT provider_id, day FROM tracer_days
    WHERE day < (now() - make_interval(secs => :days * 86400))::date
    ORDER BY day LIMIT :limit FOR UPDATE SKIP LOCKED
);
