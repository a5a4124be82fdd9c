-- Statements of key_usage.py.

-- name: add_seals!
UPDATE vault_canaries SET seals = seals + :count WHERE key_id = :key_id;

-- name: read_key_usage
SELECT key_id, seals, created_at FROM vault_canaries ORDER BY created_at, key_id;
