-- Statements of deferrals.py. Those that write are fenced: they write nothing if the idler no longer owns the shard.

-- name: record_failed_read$
WITH
-- Ownership of the shard. FOR KEY SHARE makes a change of owner, which changes the epoch, wait for this
-- transaction.
fence AS (
    SELECT 1 FROM shards WHERE shard = :shard AND owner = :owner AND epoch = :epoch FOR KEY SHARE
),
-- The user, unless archived or with other credentials than those of the session.
watched AS (
    SELECT u.id FROM users u, fence
    WHERE u.id = :user_id AND NOT u.archived AND u.credentials_version = :credentials_version
)
-- The deferred mail after one more attempt that failed.
UPDATE deferred_mails d SET attempts = :attempts, failing_seconds = :failing_seconds, last_attempt_at = now(),
    next_attempt_at = now() + make_interval(secs => :retry_in::float8), last_error = :error,
    announced_size = :announced_size
FROM watched
WHERE d.user_id = watched.id AND d.mailbox_id = :mailbox_id AND d.uid_validity = :uid_validity AND d.uid = :uid
RETURNING d.message_id;

-- name: close_moved
-- Ends deferred mails that are no longer where they were found. The parameters from :message to :content are arrays.
WITH
-- Ownership of the shard. FOR KEY SHARE makes a change of owner, which changes the epoch, wait for this
-- transaction.
fence AS (
    SELECT 1 FROM shards WHERE shard = :shard AND owner = :owner AND epoch = :epoch FOR KEY SHARE
),
-- The user, unless archived or with other credentials than those of the session.
watched AS (
    SELECT u.id FROM users u, fence
    WHERE u.id = :user_id AND NOT u.archived AND u.credentials_version = :credentials_version
),
-- The mails, no longer deferred.
old AS (
    DELETE FROM deferred_mails d
    USING watched, unnest(:message::bigint[], :outcome::text[], :detail::text[], :fingerprint::bytea[],
                          :delivery_id::uuid[], :content::bytea[])
        AS i(message, outcome, detail, fingerprint, delivery_id, content)
    WHERE d.user_id = watched.id AND d.message_id = i.message
    RETURNING d.message_id, d.partner_id, d.user_id, i.outcome, i.detail, i.fingerprint, i.delivery_id, i.content
),
-- Their messages with the final outcome.
closed AS (
    UPDATE messages m SET outcome = old.outcome, detail = old.detail,
        fingerprint = coalesce(old.fingerprint, m.fingerprint)
    FROM old WHERE m.id = old.message_id AND m.partner_id = old.partner_id
),
-- Events about those that were not found again.
new_deliveries AS (
    INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, message_id, kind, content)
    SELECT old.delivery_id, old.partner_id, e.id, old.user_id, old.message_id, 'events', old.content
    FROM old JOIN endpoints e ON e.partner_id = old.partner_id AND e.kind = 'events' AND e.url IS NOT NULL
    WHERE old.delivery_id IS NOT NULL
    ON CONFLICT (partner_id, id) DO NOTHING
    RETURNING endpoint_id
)
SELECT DISTINCT endpoint_id FROM new_deliveries;

-- name: mails_like
-- Mails of the mailbox in this numbering that have the Message-ID or the date of one of the mails that are looked for.
SELECT m.uid, m.message_id, m.internal_date, m.size, m.outcome FROM messages m
WHERE m.mailbox_id = :mailbox_id AND m.uid_validity = :uid_validity AND m.outcome <> 'gone'
  AND (m.message_id = ANY(:message_ids::text[]) OR m.internal_date = ANY(:dates::timestamptz[]));

-- name: unseen_before
-- Mails of this numbering that no earlier one recorded, although they are no younger than the first failure of a
-- deferred mail, or cannot be read either: each pair of the two.
SELECT d.message_id, m.uid FROM deferred_mails d
JOIN messages m ON m.mailbox_id = :mailbox_id AND m.uid_validity = :uid_validity
    AND (m.internal_date <= d.first_failed_at OR m.internal_date IS NULL)
WHERE d.message_id = ANY(:messages::bigint[]) AND m.outcome NOT IN ('duplicate', 'before_connect', 'gone')
  AND NOT EXISTS (
      SELECT FROM messages o
      WHERE o.mailbox_id = m.mailbox_id AND o.uid_validity <> m.uid_validity AND o.outcome <> 'gone'
        AND o.internal_date = m.internal_date AND o.message_id IS NOT DISTINCT FROM m.message_id
  )
ORDER BY m.uid;

-- name: deferred_among
SELECT uid, message_id, first_failed_at FROM deferred_mails
WHERE mailbox_id = :mailbox_id AND uid_validity = :uid_validity AND uid = ANY(:uids::bigint[]);
