-- Statements of sweeps.py.

-- name: delete_old_sweeps!
DELETE FROM sweeps WHERE id IN (
    SELECT id FROM sweeps WHERE finished_at < now() - make_interval(secs => :days * 86400)
    ORDER BY finished_at LIMIT :limit FOR UPDATE SKIP LOCKED
);
