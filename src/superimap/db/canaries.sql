-- Statements of canaries.py.

-- name: read_canaries
SELECT key_id, word FROM vault_canaries ORDER BY created_at;

-- name: lock_canaries!
-- An advisory lock, because a lock of the table needs privileges that no service has.
SELECT pg_advisory_xact_lock(:lock_key);

-- name: add_canary!
INSERT INTO vault_canaries (key_id, word) VALUES (:key_id, :word) ON CONFLICT DO NOTHING;
