-- Statements of shard_survey.py.

-- name: survey_shards
WITH
-- The users of these shards that should be watched, and how many are. A user is watched once a session was
-- established since its shard changed owner: until then its status is that of a session of the former owner.
people AS (
    SELECT u.shard, count(*) AS wanted, bit_xor(hashint8extended(u.id, u.credentials_version)) AS digest,
        count(*) FILTER (
            WHERE u.status = 'watching' AND u.last_login_at >= coalesce(s.changed_at, '-infinity')) AS watched
    FROM users u JOIN shards s USING (shard)
    WHERE u.shard BETWEEN :first AND :last AND NOT u.archived AND u.connected_at IS NOT NULL GROUP BY u.shard
),
-- The same as the triggers of `users` have counted.
sums AS (
    SELECT shard, sum(wanted) AS wanted, bit_xor(digest) AS digest FROM shard_user_sums
    WHERE shard BETWEEN :first AND :last GROUP BY shard
),
-- Each shard with what its sums lack. Both are of one snapshot.
compared AS (
    SELECT s.shard, coalesce(p.watched, 0) AS watched, coalesce(p.wanted, 0) AS users,
        coalesce(p.wanted, 0) - coalesce(sums.wanted, 0) AS wanted,
        coalesce(p.digest, 0) # coalesce(sums.digest, 0) AS digest
    FROM shards s LEFT JOIN people p USING (shard) LEFT JOIN sums USING (shard)
    WHERE s.shard BETWEEN :first AND :last
),
-- Corrections, as after rows were restored without triggers.
corrected AS (
    INSERT INTO shard_user_sums (shard, wanted, digest)
    SELECT shard, wanted, digest FROM compared WHERE wanted <> 0 OR digest <> 0
    RETURNING shard
)
SELECT c.shard, c.watched, c.users, corrected.shard IS NOT NULL AS is_corrected
FROM compared c LEFT JOIN corrected USING (shard) ORDER BY c.shard;

-- name: merge_sums$
WITH
-- The rows of shards that have several.
chosen AS MATERIALIZED (
    SELECT id FROM shard_user_sums WHERE shard IN (
        SELECT shard FROM shard_user_sums GROUP BY shard HAVING count(*) > 1
    )
    ORDER BY shard LIMIT :limit FOR UPDATE SKIP LOCKED
),
-- The same, deleted.
merged AS (
    DELETE FROM shard_user_sums s USING chosen c WHERE s.id = c.id RETURNING s.shard, s.wanted, s.digest
),
-- One row for each shard instead. What a transaction adds meanwhile is a row of its own.
added AS (
    INSERT INTO shard_user_sums (shard, wanted, digest)
    SELECT shard, sum(wanted), bit_xor(digest) FROM merged GROUP BY shard
)
SELECT count(*) FROM merged;
