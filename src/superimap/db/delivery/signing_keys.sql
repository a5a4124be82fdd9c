-- Statements of signing_keys.py.

-- name: read_signing_keys
SELECT 'api_keys' AS place, id, secret FROM api_keys
WHERE partner_id = :partner_id AND (expires_at IS NULL OR expires_at > now())
UNION ALL
SELECT 'signing_secrets', id, secret FROM signing_secrets
WHERE partner_id = :partner_id AND (expires_at IS NULL OR expires_at > now())
ORDER BY id;
