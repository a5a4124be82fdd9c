-- Statements of ownership.py. A lease is a heartbeat that is younger than :expiry seconds, by PostgreSQL's clock, of
-- an idler that was not found to be absent.

-- name: join_cluster$
WITH
-- The new idler.
joined AS (
    INSERT INTO idlers (name, version, capacity, health_port)
    VALUES (:name, :version, :capacity, :health_port)
    RETURNING id
)
SELECT id, pg_notify(:channel, :payload) FROM joined;

-- name: renew_lease^
WITH
-- Idlers without a heartbeat for :forget_after seconds leave the cluster.
removed AS (
    DELETE FROM idlers WHERE id <> :idler AND heartbeat_at < now() - make_interval(secs => :forget_after)
),
-- The idler before its heartbeat, locked.
before AS (
    SELECT id, beat FROM idlers WHERE id = :idler FOR NO KEY UPDATE
)
UPDATE idlers i SET heartbeat_at = now(), sessions = :sessions, users = :users, shards = :shards,
                    is_stopping = :is_stopping, is_full = :users >= i.capacity,
                    beat = greatest(before.beat, :beat)
FROM before WHERE i.id = before.id
RETURNING before.beat, pg_postmaster_start_time();

-- name: read_cluster^
WITH
-- The idlers whose leases have not expired.
living AS MATERIALIZED (
    SELECT id, capacity, users, shards, is_stopping, heartbeat_at FROM idlers
    WHERE heartbeat_at > now() - make_interval(secs => :expiry) AND absent_since IS NULL
),
-- The shards of this idler.
mine AS MATERIALIZED (
    SELECT shard, epoch FROM shards WHERE owner = :idler
),
-- The shards that may be taken: free ones, and those of idlers whose leases have expired.
ownerless AS MATERIALIZED (
    SELECT s.shard::int, s.owner IS NULL OR i.absent_since IS NOT NULL AS is_free
    FROM shards s LEFT JOIN idlers i ON i.id = s.owner
    WHERE s.owner IS NULL OR i.absent_since IS NOT NULL OR i.heartbeat_at <= now() - make_interval(secs => :expiry)
)
-- The last column changes with the users of this idler's shards: it is the XOR of the digests of these shards, which
-- triggers keep (migration 0032).
SELECT
    ARRAY(SELECT (id, capacity, users, shards, is_stopping) FROM living ORDER BY id),
    m.shards, m.epochs,
    ARRAY(SELECT shard FROM ownerless WHERE is_free),
    ARRAY(SELECT shard FROM ownerless WHERE NOT is_free),
    (SELECT :expiry - extract(epoch FROM now() - min(heartbeat_at))::float8 FROM living WHERE id <> :idler),
    (SELECT coalesce(bit_xor(s.digest), 0) FROM mine JOIN shard_user_sums s USING (shard))
FROM (SELECT array_agg(shard::int), array_agg(epoch) FROM mine) AS m(shards, epochs);

-- name: read_changed_users^
WITH
-- Those of the given shards that this idler owns.
mine AS MATERIALIZED (
    SELECT shard FROM shards WHERE owner = :idler AND shard = ANY(:shards::smallint[])
),
-- A digest of the users of each shard: an XOR, which needs no order, over ids and versions, so that any change of a
-- user changes it. Triggers keep it (migration 0032).
digests AS MATERIALIZED (
    SELECT m.shard, coalesce(bit_xor(s.digest), 0) AS digest
    FROM mine m LEFT JOIN shard_user_sums s USING (shard) GROUP BY m.shard
),
-- The shards whose digest is not the one that the idler knows.
changed AS (
    SELECT d.shard, d.digest
    FROM digests d
    LEFT JOIN unnest(:known_shards::smallint[], :known_digests::bigint[]) known(shard, digest) USING (shard)
    WHERE known.digest IS DISTINCT FROM d.digest
),
-- The users of these shards, as three arrays of equal length. OFFSET 0 makes it look at each shard that changed:
-- joined, all users would be read, because any number of shards may have changed.
watched AS (
    SELECT array_agg(c.shard::int) AS shards, array_agg(u.id) AS ids, array_agg(u.credentials_version) AS versions
    FROM changed c CROSS JOIN LATERAL (
        SELECT id, credentials_version FROM users
        WHERE shard = c.shard AND NOT archived AND connected_at IS NOT NULL OFFSET 0
    ) u
)
SELECT
    ARRAY(SELECT shard::int FROM changed ORDER BY shard),
    ARRAY(SELECT digest FROM changed ORDER BY shard),
    watched.shards, watched.ids, watched.versions
FROM watched;

-- name: take_shards
UPDATE shards SET owner = :idler, epoch = epoch + 1, changed_at = now()
WHERE shard = ANY(:shards::smallint[]) AND (owner IS NULL OR owner NOT IN (
    SELECT id FROM idlers
    WHERE heartbeat_at > now() - make_interval(secs => :expiry) AND absent_since IS NULL))
RETURNING shard, epoch;

-- name: reserve_capacity$
UPDATE idlers SET users = users + :users, shards = shards + :shards
WHERE id = :target AND (:users = 0 OR users + :users <= :max_users) AND shards + :shards <= :max_shards
  AND NOT is_stopping AND heartbeat_at > now() - make_interval(secs => :expiry) AND absent_since IS NULL
RETURNING true;

-- name: begin_hand_over!
-- A user counts as watched if its session is younger than this.
UPDATE shards SET changed_at = now() WHERE owner = :idler AND shard = ANY(:shards::smallint[]);

-- name: hand_over_shards!
WITH
-- The new owner; empty if it has left the cluster: then the shards become free.
target AS MATERIALIZED (
    SELECT id FROM idlers WHERE id = :target FOR KEY SHARE
),
-- The shards, with the new owner and a new epoch.
moved AS (
    UPDATE shards SET owner = (SELECT id FROM target), epoch = epoch + 1, changed_at = now()
    WHERE owner = :idler AND shard = ANY(:shards::smallint[])
    RETURNING owner
)
SELECT pg_notify(:channel, coalesce(owner::text, :every_idler)) FROM moved LIMIT 1;

-- name: release_shards!
WITH
-- The shards that this idler still owned.
released AS (
    UPDATE shards SET owner = NULL WHERE shard = ANY(:shards::smallint[]) AND owner = :idler RETURNING 1
)
SELECT pg_notify(:channel, :payload) FROM released LIMIT 1;

-- name: leave_cluster!
WITH
-- The idler's row; the foreign key of `shards` frees what it still owned.
removed AS (
    DELETE FROM idlers WHERE id = :idler
)
SELECT pg_notify(:channel, :payload);
