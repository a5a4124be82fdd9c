-- Statement of folders.py.

-- name: watch_folders
-- The rows of the folders that a user's list selects, with their cursors; other folders are not watched any more.
WITH
-- Ownership of the shard. FOR KEY SHARE makes a change of owner, which changes the epoch, wait for this
-- transaction.
fence AS (
    SELECT 1 FROM shards WHERE shard = :shard AND owner = :owner AND epoch = :epoch FOR KEY SHARE
),
-- The folder that was opened last as the first of the list, or as the only one.
current AS (
    SELECT id, opened_at FROM mailboxes
    WHERE user_id = :user_id AND account = :account AND opened_at IS NOT NULL ORDER BY opened_at DESC LIMIT 1
),
-- Since when mail in a new folder is news: since the list exists, or since all folders were listed the last time,
-- which was before the first one was opened. A day for a slow clock of the mail server.
began AS (
    SELECT u.partner_id, u.connected_at, greatest(
        u.connected_at, :listed_since::timestamptz, (SELECT opened_at - interval '1 day' FROM current)
    ) AS since
    FROM users u, fence WHERE u.id = :user_id AND u.partner_id = :partner_id AND u.connected_at IS NOT NULL
),
-- Folders that the list does not select.
unlisted AS (
    UPDATE mailboxes SET watched_since = NULL FROM began
    WHERE user_id = :user_id AND watched_since IS NOT NULL AND NOT (account = :account AND name = ANY(:names::text[]))
),
-- Folders that were not watched before. Their cursors are of another time, so they begin by date; but the folder
-- that was the only one until now continues at its cursor.
added AS (
    INSERT INTO mailboxes (user_id, partner_id, account, name, watched_since)
    SELECT :user_id, began.partner_id, :account::text, wanted.name, began.since
    FROM began, unnest(:names::text[]) AS wanted(name)
    ON CONFLICT (user_id, account, name) DO UPDATE SET
        watched_since = CASE WHEN mailboxes.id = (SELECT id FROM current) THEN (SELECT connected_at FROM began)
            ELSE excluded.watched_since END,
        last_uid = CASE WHEN mailboxes.id = (SELECT id FROM current) THEN mailboxes.last_uid END,
        last_internal_date =
            CASE WHEN mailboxes.id = (SELECT id FROM current) THEN mailboxes.last_internal_date END,
        last_mail_uid = CASE WHEN mailboxes.id = (SELECT id FROM current) THEN mailboxes.last_mail_uid END,
        last_mail_message_id =
            CASE WHEN mailboxes.id = (SELECT id FROM current) THEN mailboxes.last_mail_message_id END,
        last_mail_date = CASE WHEN mailboxes.id = (SELECT id FROM current) THEN mailboxes.last_mail_date END,
        last_mail_size = CASE WHEN mailboxes.id = (SELECT id FROM current) THEN mailboxes.last_mail_size END
    WHERE mailboxes.watched_since IS NULL
    RETURNING id, name, watched_since, coalesce(server_uid_validity, uid_validity) AS server_uid_validity, last_uid
)
SELECT id, name, watched_since, server_uid_validity, last_uid FROM added
UNION ALL
SELECT m.id, m.name, m.watched_since, coalesce(m.server_uid_validity, m.uid_validity), m.last_uid
FROM mailboxes m, began
WHERE m.user_id = :user_id AND m.account = :account AND m.name = ANY(:names::text[]) AND m.watched_since IS NOT NULL;
