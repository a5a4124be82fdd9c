-- Statements of recorded_mails.py. They change nothing.

-- name: known_mails
-- Mails whose metadata were read. A mail that was gone has no date. The size is that of the bytes that were read,
-- which is not always the size that the server announces.
SELECT uid, message_id, internal_date FROM messages
WHERE mailbox_id = :mailbox_id AND uid_validity = :uid_validity AND uid <= :up_to
  AND internal_date IS NOT NULL
ORDER BY uid DESC LIMIT :most;

-- name: content_digests^
-- Digests of the content of a mail that was read.
SELECT sha1, fingerprint FROM messages
WHERE mailbox_id = :mailbox_id AND uid_validity = :uid_validity AND uid = :uid AND sha1 IS NOT NULL;

-- name: restart_debt$
-- Seconds until the restarts of the mailbox' numbering are paid off; 0 or less if they are.
SELECT coalesce(extract(epoch FROM restarts_paid_at - now()), 0)::float8 FROM mailboxes WHERE id = :mailbox_id;

-- name: unrecorded_uids
-- UIDs without a mail. One that was gone may be back: a server that lags behind denies mails for a while.
SELECT i.uid FROM unnest(:uids::bigint[]) AS i(uid)
WHERE NOT EXISTS (
    SELECT FROM messages m
    WHERE m.mailbox_id = :mailbox_id AND m.uid_validity = :uid_validity AND m.uid = i.uid
      AND m.outcome <> 'gone'
)
ORDER BY i.uid;
