-- Statements of sessions.py. :status_after is a JSON object that maps each status of a user to the next one.

-- name: load_user^
SELECT u.id AS user_id, u.partner_id, u.shard, u.tag, u.email, u.login_username, u.login_password,
       u.oauth2_refresh_token, u.connected_at, u.credentials_version AS version,
       p.code AS provider_code, p.kind AS provider_kind, own AS has_own_server,
       CASE WHEN own THEN u.imap_host ELSE p.imap_host END AS imap_host,
       CASE WHEN own THEN u.imap_port ELSE p.imap_port END AS imap_port,
       CASE WHEN own THEN u.imap_tls ELSE p.imap_tls END AS imap_tls,
       p.idle_renew, p.poll_by, p.poll_seconds, p.open_by, p.logins_per_second, p.folders,
       coalesce(u.folders, c.folders) AS listed_folders,
       CASE WHEN u.folders IS NULL THEN c.folders_since ELSE u.folders_since END AS listed_since,
       CASE WHEN coalesce(u.change_events, c.change_events)
            THEN greatest(u.change_events_since, c.change_events_since, u.created_at) END AS change_events_since,
       greatest(0, extract(epoch FROM u.retry_at - now()))::float8 AS wait,
       u.login_accepted AS was_accepted, u.refusals,
       coalesce(extract(epoch FROM now() - u.refused_since), 0)::float8 AS refused_seconds,
       extract(epoch FROM now() - greatest(
           proven_alive_at(u.last_proven_alive_at, u.vouched_by, u.vouch_slot), u.connected_at
       ))::float8 AS failing_seconds,
       u.enable_tracer AS has_tracers,
       EXISTS (SELECT FROM partner_usage h WHERE h.partner_id = u.partner_id AND h.held_since IS NOT NULL) AS is_held
FROM users u JOIN connections c ON c.id = u.connection_id JOIN providers p ON p.id = c.provider_id,
     LATERAL (SELECT p.host_by_user AND u.imap_host IS NOT NULL) servers(own)
WHERE u.id = :user_id AND NOT u.archived AND u.connected_at IS NOT NULL;

-- name: record_established!
WITH
-- The user before the change, locked.
before AS (
    SELECT id, stalled_at, reauth FROM users WHERE id = :user_id FOR NO KEY UPDATE
),
-- The user after the change; nothing if the credentials are not those of the session any more.
established AS (
    UPDATE users u SET status_reason = :reason, stalled_at = NULL,
        last_proven_alive_at = now() - make_interval(secs => :proven_ago),
        retry_at = NULL, reauth = NULL, status = :status_after::jsonb ->> u.status,
        login_accepted = true, refusals = 0, refused_since = NULL,
        last_login_at = CASE WHEN :is_new THEN now() ELSE u.last_login_at END,
        status_since = CASE WHEN u.status = :status_after::jsonb ->> u.status THEN u.status_since ELSE now() END
    FROM before
    WHERE u.id = before.id AND u.credentials_version = :credentials_version AND NOT u.archived
    RETURNING u.id AS user_id, u.partner_id, before.stalled_at, before.reauth
),
-- The events: a stalled user has recovered, and a user who had to sign in again is restored.
events AS (
    SELECT partner_id, user_id, :recovered_kind::text AS kind, NULL AS code, NULL AS reason
    FROM established WHERE stalled_at IS NOT NULL
    UNION ALL
    SELECT partner_id, user_id, :restored_kind::text, NULL, NULL
    FROM established WHERE reauth IS NOT NULL
),
-- The rows of the events.
recorded_events AS (
    INSERT INTO user_events (partner_id, user_id, kind, code, reason)
    SELECT partner_id, user_id, kind, code, reason FROM events
    RETURNING id, partner_id, user_id
),
-- A delivery for each event whose partner has a URL for events. Its content is made from the event's row when it
-- is sent. Its id is a UUID version 7: milliseconds, the version, and the random rest of a version 4.
event_deliveries AS (
    INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind, event_id, content)
    SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
               || '7' || substr(gen_random_uuid()::text, 16))::uuid,
           v.partner_id, e.id, v.user_id, e.kind, v.id, ''
    FROM recorded_events v
    JOIN endpoints e ON e.partner_id = v.partner_id AND e.kind = 'events' AND e.url IS NOT NULL
)
SELECT count(*) FROM recorded_events;

-- name: record_status!
UPDATE users u SET status = :status_after::jsonb ->> u.status, status_reason = :reason,
    retry_at = now() + make_interval(secs => :retry_in::float8),
    refusals = u.refusals + :is_refusal::boolean::int,
    refused_since = CASE WHEN :is_refusal::boolean THEN coalesce(u.refused_since, now()) ELSE u.refused_since END,
    status_since = CASE WHEN u.status = :status_after::jsonb ->> u.status THEN u.status_since ELSE now() END
WHERE u.id = :user_id AND u.credentials_version = :credentials_version AND NOT u.archived
  AND ((u.status, u.status_reason) IS DISTINCT FROM (:status_after::jsonb ->> u.status, :reason)
       OR :retry_in::float8 IS NOT NULL OR :is_refusal::boolean);

-- name: record_refusal$
WITH
-- The user before the change, locked.
before AS (
    SELECT id, reauth FROM users WHERE id = :user_id FOR NO KEY UPDATE
),
-- The user after the change; nothing if the credentials are not those of the session any more.
refused AS (
    UPDATE users u SET status = :status_after::jsonb ->> u.status, status_reason = :reason, reauth = 'required',
        retry_at = now() + make_interval(secs => :retry_in::float8),
        refusals = u.refusals + 1, refused_since = coalesce(u.refused_since, now()),
        status_since = CASE WHEN u.status = :status_after::jsonb ->> u.status THEN u.status_since ELSE now() END
    FROM before
    WHERE u.id = before.id AND u.credentials_version = :credentials_version AND NOT u.archived
    RETURNING u.id, u.partner_id, before.reauth
),
-- The event, unless the partner was notified already.
events AS (
    SELECT partner_id, id AS user_id, :event_kind::text AS kind, :code::text AS code, :reason::text AS reason
    FROM refused WHERE reauth IS DISTINCT FROM 'required'
),
-- The rows of the events.
recorded_events AS (
    INSERT INTO user_events (partner_id, user_id, kind, code, reason)
    SELECT partner_id, user_id, kind, code, reason FROM events
    RETURNING id, partner_id, user_id
),
-- A delivery for each event whose partner has a URL for events. Its content is made from the event's row when it
-- is sent. Its id is a UUID version 7: milliseconds, the version, and the random rest of a version 4.
event_deliveries AS (
    INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind, event_id, content)
    SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
               || '7' || substr(gen_random_uuid()::text, 16))::uuid,
           v.partner_id, e.id, v.user_id, e.kind, v.id, ''
    FROM recorded_events v
    JOIN endpoints e ON e.partner_id = v.partner_id AND e.kind = 'events' AND e.url IS NOT NULL
)
SELECT count(*) FROM recorded_events;
