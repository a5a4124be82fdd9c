-- Statements of deferrals.py. Every one is fenced: it writes nothing if the idler no longer owns the shard.

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

-- name: close_renumbered$
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
-- The deferred mails of other numberings than the present one, deleted.
old AS (
    DELETE FROM deferred_mails d USING watched
    WHERE d.user_id = watched.id AND d.mailbox_id = :mailbox_id AND d.uid_validity <> :uid_validity
    RETURNING d.message_id, d.partner_id
),
-- Their messages with the final outcome.
closed AS (
    UPDATE messages m SET outcome = 'gone', detail = :reason FROM old
    WHERE m.id = old.message_id AND m.partner_id = old.partner_id
    RETURNING m.id
)
SELECT count(*) FROM closed;
