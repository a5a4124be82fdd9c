-- Statements of link_usage.py. A window begins with its first try.

-- name: count_tries
-- Counts tries under each key, by PostgreSQL's clock. The keys are locked in their order.
INSERT INTO login_tries AS t (key, count, ends_at)
SELECT key, tries, now() + make_interval(secs => seconds)
FROM unnest(:keys::bytea[], :tries::int[], :seconds::int[]) AS tries (key, tries, seconds)
ORDER BY key
ON CONFLICT (key) DO UPDATE SET
    count = CASE WHEN t.ends_at <= now() THEN excluded.count ELSE t.count + excluded.count END,
    ends_at = CASE WHEN t.ends_at <= now() THEN excluded.ends_at ELSE t.ends_at END
RETURNING t.key, t.count, ceil(extract(epoch FROM t.ends_at - now()))::int AS wait_seconds;

-- name: give_back_tries!
WITH
-- The keys, locked in the order in which they are counted.
locked AS (
    SELECT t.key, g.tries FROM login_tries t
    JOIN unnest(:keys::bytea[], :tries::int[]) AS g (key, tries) USING (key)
    ORDER BY t.key FOR UPDATE OF t
)
UPDATE login_tries t SET count = greatest(t.count - locked.tries, 0) FROM locked WHERE t.key = locked.key;

-- name: delete_expired!
-- At most :limit of each, so that no process has to sweep. Locked rows are left to the next call.
WITH
-- Consents that nobody finished.
consents AS (
    DELETE FROM oauth_states WHERE id IN (
        SELECT id FROM oauth_states WHERE expires_at < now() LIMIT :limit FOR UPDATE SKIP LOCKED)
),
-- Links that would have expired by themselves.
links AS (
    DELETE FROM used_links WHERE link_digest IN (
        SELECT link_digest FROM used_links WHERE used_at < now() - :retention::interval
        LIMIT :limit FOR UPDATE SKIP LOCKED)
)
-- Counts of windows that have ended.
DELETE FROM login_tries WHERE key IN (
    SELECT key FROM login_tries WHERE ends_at < now() LIMIT :limit FOR UPDATE SKIP LOCKED);
