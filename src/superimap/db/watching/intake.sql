-- Statements of intake.py. Every one is fenced: it writes nothing if the idler no longer owns the shard.

-- name: visit_mailbox^
WITH
-- Ownership of the shard. FOR KEY SHARE makes a change of owner, which changes the epoch, wait for this
-- transaction.
fence AS (
    SELECT 1 FROM shards WHERE shard = :shard AND owner = :owner AND epoch = :epoch FOR KEY SHARE
),
-- Without a list of folders, the others of an earlier list are not watched any more.
unlisted AS (
    UPDATE mailboxes SET watched_since = NULL FROM fence
    WHERE user_id = :user_id AND watched_since IS NOT NULL AND NOT :is_listed::boolean
      AND (account, name) <> (:account, :name)
),
-- The folder's row. A new folder starts at the latest date of the same mail account (the part of `account` before
-- the tab), and so does one that only a sweep has read; any other is returned as it is, and so is one of a list
-- (watch_folders). Only the first folder is marked as opened. A row from before version 0016 has no
-- server_uid_validity.
visited AS (
    INSERT INTO mailboxes (user_id, partner_id, name, account, opened_at, last_internal_date)
    SELECT u.id, u.partner_id, :name, :account, CASE WHEN :is_first::boolean THEN now() END,
           (SELECT max(last_internal_date) FROM mailboxes
            WHERE user_id = u.id AND split_part(account, E'\t', 1) = split_part(:account, E'\t', 1))
    FROM users u, fence WHERE u.id = :user_id AND u.partner_id = :partner_id
    ON CONFLICT (user_id, account, name) DO UPDATE SET opened_at = coalesce(excluded.opened_at, mailboxes.opened_at),
        watched_since = CASE WHEN :is_listed::boolean THEN mailboxes.watched_since END,
        last_internal_date = CASE
            WHEN mailboxes.opened_at IS NULL AND mailboxes.uid_validity IS NULL AND mailboxes.watched_since IS NULL
            THEN excluded.last_internal_date ELSE mailboxes.last_internal_date END
    RETURNING id, uid_validity, last_uid, last_internal_date, restarts, was_empty,
              coalesce(server_uid_validity, uid_validity) AS server_uid_validity,
              last_mail_uid, last_mail_message_id, last_mail_date, last_mail_size
)
-- The folder, and the deferred mails of all folders of the mail account, with the seconds since the last attempt and
-- until the next one; the last mails that were gone, which may be back.
SELECT visited.*, ARRAY(
    SELECT (d.message_id, d.mailbox_id, d.uid_validity, d.uid, m.internal_date, m.message_id, m.size,
            d.found_by_date, d.first_failed_at, d.attempts, d.failing_seconds, d.announced_size,
            extract(epoch FROM now() - d.last_attempt_at)::float8,
            extract(epoch FROM d.next_attempt_at - now())::float8)
    FROM mailboxes b JOIN deferred_mails d ON d.mailbox_id = b.id
    JOIN messages m ON m.id = d.message_id AND m.partner_id = d.partner_id
    WHERE b.user_id = :user_id AND split_part(b.account, E'\t', 1) = split_part(:account, E'\t', 1)
    ORDER BY d.next_attempt_at
) AS deferred, ARRAY(
    SELECT g.uid FROM (
        SELECT mailbox_id, uid_validity, uid, created_at FROM messages
        WHERE user_id = :user_id AND outcome = 'gone' ORDER BY id DESC LIMIT 16
    ) g
    WHERE (g.mailbox_id, g.uid_validity) = (visited.id, visited.uid_validity)
      AND g.created_at > now() - interval '3 days'
) AS gone FROM visited;

-- name: record_mails^
-- Records mails with their deliveries and moves the cursor of the mailbox, all or nothing.
-- The parameters from :uid to :found_by are arrays with one element for each mail (the fields of `MailRow`, and when
-- and how it was found).
WITH
-- Ownership of the shard. FOR KEY SHARE makes a change of owner, which changes the epoch, wait for this
-- transaction.
fence AS (
    SELECT 1 FROM shards WHERE shard = :shard AND owner = :owner AND epoch = :epoch FOR KEY SHARE
),
-- The user, unless archived or with other credentials than those of the session.
watched AS (
    SELECT u.id, u.enable_tracer FROM users u, fence
    WHERE u.id = :user_id AND NOT u.archived AND u.credentials_version = :credentials_version
),
-- The mailbox, its cursor moved. The cursor must be where this session read it, or at the new position
-- already: then the answer to an earlier attempt was lost. Everything below depends on this CTE, and through it on
-- the fence.
box AS (
    UPDATE mailboxes m SET uid_validity = :new_uid_validity, last_uid = :new_last_uid,
        last_internal_date = greatest(m.last_internal_date, :new_last_internal_date),
        server_uid_validity = :new_server_uid_validity, restarts = :new_restarts, was_empty = :new_was_empty,
        last_mail_uid = :last_mail_uid, last_mail_message_id = :last_mail_message_id,
        last_mail_date = :last_mail_date, last_mail_size = :last_mail_size,
        restarts_paid_at = CASE
            WHEN :new_restarts > m.restarts AND :new_server_uid_validity = coalesce(m.server_uid_validity, m.uid_validity)
            THEN greatest(m.restarts_paid_at, now()) + make_interval(secs => :restart_interval::float8)
            ELSE m.restarts_paid_at END
    FROM watched
    WHERE m.id = :mailbox_id AND m.user_id = watched.id AND m.partner_id = :partner_id
      AND ((m.uid_validity, m.last_uid) IS NOT DISTINCT FROM (:old_uid_validity::bigint, :old_last_uid::bigint)
           OR (m.uid_validity, m.last_uid) IS NOT DISTINCT FROM (:new_uid_validity::bigint, :new_last_uid::bigint))
    RETURNING m.id
),
-- The partner's endpoints with a URL: one row, NULL where there is none.
endpoint AS (
    SELECT max(id) FILTER (WHERE kind = 'new_mail') AS id, max(id) FILTER (WHERE kind = 'events') AS events_id
    FROM endpoints WHERE partner_id = :partner_id AND url IS NOT NULL
),
-- The mails of the batch in order of UID, each with the id of its row and with `earlier_id`: the recorded mail of
-- which it is a copy. A copy has the same bytes, or the same fingerprint and INTERNALDATE under another numbering
-- (another mailbox or UIDVALIDITY). Under the same numbering a fingerprint does not count: an attacker who expects a
-- mail could send one like it first. A copy of a copy refers to the original; a mail that
-- has no webhook, or no bytes, has no copies.
incoming AS (
    SELECT nextval((SELECT pg_get_serial_sequence('messages', 'id')::regclass)) AS id, judged.*
    FROM (
        SELECT i.*, earlier.id AS earlier_id, endpoint.id AS endpoint_id, endpoint.events_id
        FROM box
        CROSS JOIN unnest(
            :uid::bigint[], :internal_date::timestamptz[], :size::bigint[], :outcome::text[], :detail::text[],
            :sha1::bytea[], :fingerprint::bytea[], :message_id::text[], :delivery_id::uuid[], :content::bytea[],
            :twin_uid::bigint[], :token_digest::bytea[], :found_by_date::boolean[],
            :found_ago::int[], :found_by::smallint[], :fetched_ago::float8[]
        ) AS i(uid, internal_date, size, outcome, detail, sha1, fingerprint, message_id, delivery_id, content,
               twin_uid, token_digest, found_by_date, found_ago, found_by, fetched_ago)
        CROSS JOIN endpoint
        LEFT JOIN LATERAL (
            SELECT coalesce(e.duplicate_of, e.id) AS id FROM messages e
            WHERE e.user_id = :user_id AND e.outcome IN ('delivered', 'duplicate', 'tracer')
              AND (e.sha1 = i.sha1
                   OR e.fingerprint = i.fingerprint AND e.internal_date = i.internal_date
                      AND (e.mailbox_id, e.uid_validity) <> (:mailbox_id, :uid_validity))
              AND i.outcome = 'delivered' AND i.size > 0
            LIMIT 1
        ) earlier ON true
        ORDER BY i.uid
    ) judged
),
-- Tracers that arrived, each detected once. The tracer and its mail (in `recorded`) are marked together or not at
-- all. Only a long one has a webhook. The push of an earlier mail may have led to the tracer, before it was made.
detected AS (
    UPDATE tracers t SET detected_at = now(), internal_date = i.internal_date, mailbox_id = :mailbox_id,
        uid_validity = :uid_validity, uid = i.uid,
        seen_at = greatest(t.created_at, now() - make_interval(secs => i.found_ago / 1000.0)),
        fetched_at = now() - make_interval(secs => i.fetched_ago),
        delivery_id = CASE WHEN t.is_long AND i.content IS NOT NULL AND i.endpoint_id IS NOT NULL THEN i.delivery_id END
    FROM incoming i, watched
    WHERE watched.enable_tracer AND t.user_id = :user_id AND t.token_digest = i.token_digest
      AND t.detected_at IS NULL AND i.earlier_id IS NULL
    RETURNING t.token_digest, t.delivery_id
),
-- The rows of the mails with their final outcomes. `first_id` is the mail whose webhook covers this copy: recorded
-- earlier, or in this batch (`twin_uid`). A mail that was recorded before is skipped, unless it was not read then: it
-- was deferred, gone, or given up. A mail that was given up because it was not found again may be deferred again.
recorded AS (
    INSERT INTO messages (id, partner_id, user_id, mailbox_id, uid_validity, uid, internal_date, size,
                          outcome, detail, sha1, fingerprint, message_id, duplicate_of, recording_milliseconds,
                          found_by)
    SELECT i.id, :partner_id, :user_id, :mailbox_id, :uid_validity, i.uid, i.internal_date, i.size,
           CASE WHEN i.outcome = 'own_mail' AND detected.token_digest IS NOT NULL THEN 'tracer'
                WHEN i.outcome NOT IN ('delivered', 'duplicate') THEN i.outcome
                WHEN i.first_id IS NOT NULL THEN 'duplicate'
                WHEN detected.token_digest IS NOT NULL THEN 'tracer'
                WHEN i.endpoint_id IS NULL THEN 'no_webhook'
                ELSE 'delivered' END,
           i.detail, i.sha1, i.fingerprint, i.message_id, i.first_id, i.found_ago, i.found_by
    FROM (
        SELECT i.*, coalesce(i.earlier_id, twin.earlier_id,
                             CASE WHEN i.endpoint_id IS NOT NULL THEN twin.id END) AS first_id
        FROM incoming i LEFT JOIN incoming twin ON twin.uid = i.twin_uid
    ) i LEFT JOIN detected ON detected.token_digest = i.token_digest
    ON CONFLICT (mailbox_id, uid_validity, uid) DO UPDATE
        SET internal_date = coalesce(excluded.internal_date, messages.internal_date), size = excluded.size,
            outcome = excluded.outcome, detail = excluded.detail, sha1 = excluded.sha1,
            fingerprint = coalesce(excluded.fingerprint, messages.fingerprint), duplicate_of = excluded.duplicate_of,
            message_id = coalesce(excluded.message_id, messages.message_id)
        WHERE messages.outcome = 'deferred' AND excluded.outcome <> 'deferred'
              OR messages.outcome = 'gone' AND excluded.outcome <> 'gone'
              OR messages.outcome = 'unreadable' AND excluded.outcome NOT IN ('unreadable', 'gone', 'before_connect')
                 AND (excluded.outcome <> 'deferred' OR messages.detail = ANY(:reopened::text[]))
    RETURNING id, uid, outcome
),
-- The attempts at mails that are deferred from now on.
deferred AS (
    INSERT INTO deferred_mails (message_id, partner_id, user_id, mailbox_id, uid_validity, uid, found_by_date,
                                next_attempt_at, last_error)
    SELECT r.id, :partner_id, :user_id, :mailbox_id, :uid_validity, r.uid, i.found_by_date,
           now() + make_interval(secs => :retry_in::float8), i.detail
    FROM recorded r JOIN incoming i USING (uid) WHERE r.outcome = 'deferred'
),
-- The end of the attempts at mails that were deferred.
ended AS (
    DELETE FROM deferred_mails d USING recorded r WHERE d.message_id = r.id AND r.outcome <> 'deferred'
),
-- Some ids are derived from the mail, so that a mail that is read again after a restored backup keeps its id.
-- The deliveries: one for each new mail, and an event for each mail that was too big or could not be read, unless
-- there was one under another numbering.
new_deliveries AS (
    INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, message_id, kind, content)
    SELECT i.delivery_id, :partner_id, CASE WHEN mail.is_sent THEN i.endpoint_id ELSE i.events_id END,
           :user_id, r.id, CASE WHEN mail.is_sent THEN 'new_mail' ELSE 'events' END, i.content
    FROM recorded r JOIN incoming i USING (uid),
         LATERAL (SELECT r.outcome IN ('delivered', 'tracer')) mail(is_sent)
    WHERE r.outcome = 'delivered'
       OR r.outcome = 'tracer' AND EXISTS (SELECT FROM detected d WHERE d.delivery_id = i.delivery_id)
       OR r.outcome IN ('too_big', 'unreadable') AND i.events_id IS NOT NULL AND i.delivery_id IS NOT NULL
          AND NOT EXISTS (SELECT FROM messages e
                          WHERE e.user_id = :user_id AND e.fingerprint = i.fingerprint AND e.outcome = r.outcome
                            AND (e.mailbox_id, e.uid_validity) <> (:mailbox_id, :uid_validity))
    ON CONFLICT (partner_id, id) DO NOTHING
    RETURNING endpoint_id, kind
),
-- The time of the user's latest mail with a webhook. It proves nothing of the mail server: the mail was read before, an
-- outage of PostgreSQL earlier perhaps.
marked AS (
    UPDATE users SET last_email_at = now()
    WHERE id = :user_id AND EXISTS (SELECT 1 FROM new_deliveries WHERE kind = 'new_mail')
)
SELECT (SELECT count(*) FROM box) AS moved,
       ARRAY(SELECT DISTINCT endpoint_id FROM new_deliveries) AS endpoints,
       ARRAY(SELECT outcome FROM recorded) AS outcomes;
