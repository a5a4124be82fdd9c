-- Statements of token_leases.py. An access token is in its user's row, or in the row of the connection if the
-- users of the connection share it; hence two statements for each step. All times are PostgreSQL's.

-- name: load_grant^
SELECT u.id, u.partner_id, u.connection_id, p.oauth2_token_url, c.oauth2_tenant, p.oauth2_scope,
       c.oauth2_client_id, c.oauth2_client_secret, p.oauth2_client_auth, u.oauth2_refresh_token,
       coalesce(greatest(0, extract(epoch FROM c.oauth2_pause_until - now()))::float8, 0),
       c.oauth2_pause_reason, p.oauth2_grant_type, u.email, held.*
FROM users u JOIN connections c ON c.id = u.connection_id JOIN providers p ON p.id = c.provider_id
CROSS JOIN LATERAL (
    SELECT true, c.oauth2_token_version, c.oauth2_access_token, c.oauth2_access_token_life,
           extract(epoch FROM c.oauth2_access_token_expires_at - now())::float8
    WHERE p.oauth2_grant_type = :shared_grant_type
    UNION ALL
    SELECT false, u.oauth2_token_version, u.oauth2_access_token, u.oauth2_access_token_life,
           extract(epoch FROM u.oauth2_access_token_expires_at - now())::float8
    WHERE p.oauth2_grant_type IS DISTINCT FROM :shared_grant_type
) held
WHERE u.id = :user_id;

-- name: claim_user_lease$
UPDATE users SET oauth2_lease_until = now() + make_interval(secs => :lease)
WHERE id = :user_id AND oauth2_token_version = :version AND coalesce(oauth2_lease_until <= now(), true)
  AND NOT EXISTS (SELECT FROM connections WHERE id = :connection_id AND oauth2_pause_until > now())
RETURNING true;

-- name: claim_connection_lease$
UPDATE connections SET oauth2_lease_until = now() + make_interval(secs => :lease)
WHERE id = :connection_id AND oauth2_token_version = :version AND coalesce(oauth2_lease_until <= now(), true)
  AND NOT EXISTS (SELECT FROM connections WHERE id = :connection_id AND oauth2_pause_until > now())
RETURNING true;

-- name: store_user_token$
UPDATE users SET oauth2_access_token = :access_token, oauth2_access_token_life = :life,
    oauth2_access_token_expires_at = now() + make_interval(secs => :left),
    oauth2_token_version = oauth2_token_version + 1, oauth2_lease_until = NULL,
    oauth2_refresh_token = coalesce(:refresh_token, oauth2_refresh_token)
WHERE id = :user_id AND (oauth2_token_version = :version OR oauth2_access_token = :access_token)
RETURNING oauth2_token_version;

-- name: store_connection_token$
UPDATE connections SET oauth2_access_token = :access_token, oauth2_access_token_life = :life,
    oauth2_access_token_expires_at = now() + make_interval(secs => :left),
    oauth2_token_version = oauth2_token_version + 1, oauth2_lease_until = NULL,
    oauth2_pause_until = NULL, oauth2_pause_reason = NULL
WHERE id = :connection_id AND (oauth2_token_version = :version OR oauth2_access_token = :access_token)
RETURNING oauth2_token_version;

-- name: release_user_lease!
UPDATE users SET oauth2_lease_until = NULL WHERE id = :user_id AND oauth2_token_version = :version;

-- name: release_connection_lease!
UPDATE connections SET oauth2_lease_until = NULL WHERE id = :connection_id AND oauth2_token_version = :version;

-- name: pause_connection!
UPDATE connections SET oauth2_pause_until = now() + make_interval(secs => :seconds), oauth2_pause_reason = :reason
WHERE id = :connection_id AND oauth2_client_secret = :client_secret;

-- name: discard_token!
WITH
-- The user's own token.
discarded AS (
    UPDATE users SET oauth2_access_token = NULL WHERE id = :user_id AND oauth2_access_token IS NOT NULL
)
-- The token that the user shares, unless it is younger than :min_age seconds.
UPDATE connections SET oauth2_access_token = NULL
WHERE id = (SELECT connection_id FROM users WHERE id = :user_id) AND oauth2_access_token IS NOT NULL
  AND oauth2_access_token_expires_at
      < now() + make_interval(secs => greatest(oauth2_access_token_life - :min_age, 0));
