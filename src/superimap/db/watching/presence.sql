-- Statements of presence.py. The lock of an idler is (:space, its number); the process holds it exclusively.

-- name: register_presence^
-- Run by the session that holds the lock.
WITH
-- The idler before the change, locked.
before AS (
    SELECT id, absent_since FROM idlers WHERE id = :idler FOR NO KEY UPDATE
),
-- The idler, present on this server.
registered AS (
    UPDATE idlers i SET presence = :number, presence_server = pg_postmaster_start_time(),
                        presence_address = inet_server_addr(), absent_since = NULL
    FROM before WHERE i.id = before.id
    RETURNING before.absent_since IS NOT NULL AS was_absent
)
-- An idler that was taken for dead has lost shards: it and the others look at once.
SELECT was_absent, CASE WHEN was_absent THEN pg_notify(:channel, :payload) END FROM registered;

-- name: withdraw_presence!
UPDATE idlers SET presence = NULL, absent_since = NULL WHERE id = :idler;

-- name: look_at_next
WITH
-- The idlers that follow this one by id, :limit at most, in a ring.
following AS (
    (SELECT id, presence, presence_server, presence_address FROM idlers
     WHERE id > :idler AND presence IS NOT NULL AND absent_since IS NULL ORDER BY id LIMIT :limit)
    UNION ALL
    (SELECT id, presence, presence_server, presence_address FROM idlers
     WHERE id < :idler AND presence IS NOT NULL AND absent_since IS NULL ORDER BY id LIMIT :limit)
),
-- The same, materialized so that no lock of others is tried.
neighbours AS MATERIALIZED (
    SELECT * FROM following ORDER BY id < :idler, id LIMIT :limit
)
-- Each with whether its lock is held by nobody. A shared lock hinders no other idler that looks.
SELECT id, pg_try_advisory_xact_lock_shared(:space, presence) AS is_absent,
       CASE WHEN presence_server = pg_postmaster_start_time() THEN 'same'
                WHEN presence_address IS NOT DISTINCT FROM inet_server_addr() THEN 'restarted'
                ELSE 'other' END AS server
FROM neighbours;

-- name: mark_absent
WITH
-- The idlers whose lock is held by nobody. This transaction holds it until it commits, so that none returns
-- meanwhile.
marked AS (
    UPDATE idlers SET absent_since = now()
    WHERE id = ANY(:idlers::bigint[]) AND absent_since IS NULL
      AND CASE WHEN presence IS NOT NULL THEN pg_try_advisory_xact_lock_shared(:space, presence) END
    RETURNING id
)
SELECT id, pg_notify(:channel, :payload) FROM marked;
