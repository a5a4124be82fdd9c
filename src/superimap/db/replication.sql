-- name: read_primary^
-- The position up to which this primary has written its log to disk, and the cluster to which it belongs. Each commit
-- that a client was told of is below. Raises 55000 on a standby.
SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint AS position, system_identifier, pg_postmaster_start_time() AS started
FROM pg_control_system();

-- name: read_standby^
-- The position up to which this standby shows the log; NULL if it is no standby.
SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint AS position, pg_is_in_recovery() AS is_standby, system_identifier,
    pg_postmaster_start_time() AS started
FROM pg_control_system();
