-- Statements of new_users.py.

-- name: find_target^
-- A partner's connection with its provider, and ids for new users.
SELECT c.id AS connection_id, c.partner_id, p.code, p.kind, p.imap_host, p.host_by_user,
       p.kind = 'OAUTH2' AND coalesce(p.oauth2_grant_type IN ('client_credentials', 'jwt_bearer'), false) AS is_app_only,
       ARRAY(SELECT nextval('users_id_seq') FROM generate_series(1, :count)) AS user_ids
FROM connections c JOIN providers p ON p.id = c.provider_id
WHERE c.partner_id = :partner_id AND upper(p.code) = :code;

-- name: draw_ids
SELECT nextval('users_id_seq') FROM generate_series(1, :count);

-- name: insert_users
-- Creates users if there is room for all of them, except those whose tag or email a live user has; with an entry in
-- the audit log each, and a doorbell for their shards. The parameters from :id to :details are arrays with one element
-- for each user.
WITH
-- The users, taken from what is left of the quota. Nothing if too little is left.
user_room AS (
    UPDATE partner_usage u SET room = u.room - :users::bigint
    WHERE u.partner_id = :partner_id AND u.quota = 'users' AND u.room >= :users AND :users > 0
      AND u.maximum = coalesce((SELECT q.maximum FROM partner_quotas q
                                WHERE q.partner_id = :partner_id AND q.quota = 'users'), :max_users)
    RETURNING 1
),
-- The sessions in the same way, always after the users, so that two transactions do not wait for each other.
session_room AS (
    UPDATE partner_usage u SET room = u.room - :sessions::bigint
    WHERE u.partner_id = :partner_id AND u.quota = 'sessions' AND u.room >= :sessions AND :sessions > 0
      AND (:users = 0 OR EXISTS (SELECT FROM user_room))
      AND u.maximum = coalesce((SELECT q.maximum FROM partner_quotas q
                                WHERE q.partner_id = :partner_id AND q.quota = 'sessions'), :max_sessions)
    RETURNING 1
),
-- One row: whether there is room for the users, and for their sessions.
room AS (
    SELECT :users = 0 OR EXISTS (SELECT FROM user_room) AS has_users,
           :sessions = 0 OR EXISTS (SELECT FROM session_room) AS has_sessions
),
-- The users as they are sent, in their order.
incoming AS (
    SELECT i.* FROM unnest(
        :id::bigint[], :tag::text[], :email::text[], :login_username::text[], :login_password::bytea[],
        :imap_host::text[], :imap_port::int[], :imap_tls::text[], :oauth2_refresh_token::bytea[],
        :sign_in_email::text[], :history_days::int[], :change_events::boolean[], :folders::text[],
        :enable_tracer::boolean[], :archived::boolean[], :is_connected::boolean[], :status::text[], :fields::text[], :details::text[]
    ) WITH ORDINALITY AS i(id, tag, email, login_username, login_password, imap_host, imap_port, imap_tls,
                           oauth2_refresh_token, sign_in_email, history_days, change_events, folders, enable_tracer,
                           archived, is_connected, status, fields, details, place)
),
-- The rows of the users. Of two with the same tag or email the first is created.
created AS (
    INSERT INTO users (id, partner_id, connection_id, tag, email, login_username, login_password, imap_host, imap_port,
                       imap_tls, oauth2_refresh_token, sign_in_email, history_days, change_events, folders, enable_tracer,
                       archived, connected_at, status)
    SELECT i.id, :partner_id, :connection_id, i.tag, i.email, i.login_username, i.login_password, i.imap_host,
           i.imap_port, i.imap_tls, i.oauth2_refresh_token, i.sign_in_email, i.history_days, i.change_events,
           CASE WHEN i.folders <> 'null' THEN ARRAY(SELECT jsonb_array_elements_text(i.folders::jsonb)) END,
           i.enable_tracer, i.archived,
           CASE WHEN i.is_connected THEN now() END, i.status
    FROM incoming i, room WHERE room.has_users AND room.has_sessions
    ORDER BY i.place
    ON CONFLICT DO NOTHING
    RETURNING id, shard, connected_at, status_since
),
-- The sweeps of the history of those that are watched from now on.
swept AS (
    INSERT INTO sweeps (partner_id, user_id, shard, since, direction, cause, actor_kind, made_by)
    SELECT :partner_id, created.id, created.shard,
           created.connected_at - make_interval(hours => 24 * coalesce(i.history_days, c.history_days)),
           'newest', 'connected', :actor_kind, :actor
    FROM incoming i JOIN created USING (id) JOIN connections c ON c.id = :connection_id
    WHERE i.is_connected AND NOT i.archived AND coalesce(i.history_days, c.history_days) > 0
),
-- The entries in the audit log.
recorded AS (
    INSERT INTO audit_log (actor_kind, actor, partner_id, action, object_id, fields, details)
    SELECT :actor_kind, :actor, :partner_id, :action, i.id::text, i.fields::text[], i.details::jsonb
    FROM incoming i JOIN created USING (id)
    ORDER BY i.place
)
SELECT room.has_users, room.has_sessions, created.id, created.connected_at, created.status_since,
       CASE WHEN created.id IS NOT NULL THEN pg_notify(:channel, created.shard::text) END
FROM room LEFT JOIN created ON true;

-- name: find_taken
-- For each pair of a tag and an email, the live user with the tag, and whether a live user has the email.
SELECT i.place::int - 1 AS place, u.id, u.tag, u.email, u.imap_host, u.imap_port, u.imap_tls, u.archived, u.status,
       u.connected_at, u.status_since, u.status_reason, u.last_login_at, u.last_email_at,
       proven_alive_at(u.last_proven_alive_at, u.vouched_by, u.vouch_slot) AS last_proven_alive_at, u.sign_in_email,
       u.history_days, u.folders, u.change_events,
       EXISTS (SELECT FROM users e WHERE e.connection_id = :connection_id AND lower(e.email) = lower(i.email)
               AND NOT e.archived) AS is_email_taken
FROM unnest(:tags::text[], :emails::text[]) WITH ORDINALITY AS i(tag, email, place)
LEFT JOIN users u ON u.connection_id = :connection_id AND lower(u.tag) = lower(i.tag) AND NOT u.archived;
