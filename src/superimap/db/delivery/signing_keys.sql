-- Statements of signing_keys.py.

-- name: read_signing_keys
WITH
-- The valid API keys that sign webhook bodies, with `place`: the one that was marked last signs, the others follow
-- in `signatures`.
marked AS (
    SELECT id, secret, row_number() OVER (ORDER BY signs_from <= now() DESC,
        CASE WHEN signs_from <= now() THEN signs_from END DESC, signs_from, id DESC) AS place
    FROM api_keys
    WHERE partner_id = :partner_id AND (expires_at IS NULL OR expires_at > now()) AND signs_from IS NOT NULL
)
SELECT 'api_keys' AS source, id, secret, place FROM marked
UNION ALL
-- The valid signing secrets, newest first.
SELECT 'signing_secrets', id, secret, -id FROM signing_secrets
WHERE partner_id = :partner_id AND (expires_at IS NULL OR expires_at > now())
UNION ALL
-- A row if the partner wants a `traceparent` with its webhooks.
SELECT 'partners', id, NULL, 0 FROM partners WHERE id = :partner_id AND send_traceparent
ORDER BY place;
