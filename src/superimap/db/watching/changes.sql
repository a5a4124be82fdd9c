-- Statements of changes.py.

-- name: load_tracked^
-- The latest mails of a mailbox that had their webhook, with their known state; nothing if there is no URL for
-- events. A mail that was recorded after the last look is known without flags. One that was reported as gone is
-- left out.
WITH
-- The mailbox with its last look, if that was since :since and in the same numbering.
box AS (
    SELECT m.id, m.uid_validity,
           CASE WHEN last_look.counts THEN m.changes_seen_at END AS seen_at,
           CASE WHEN last_look.counts THEN m.changes_modseq END AS modseq
    FROM mailboxes m, LATERAL (
        SELECT m.changes_uid_validity = m.uid_validity AND m.changes_seen_at >= :since::timestamptz
    ) last_look(counts)
    WHERE m.id = :mailbox_id AND m.user_id = :user_id AND m.uid_validity = :uid_validity
      AND EXISTS (SELECT FROM endpoints WHERE partner_id = :partner_id AND kind = 'events' AND url IS NOT NULL)
),
-- The latest recorded mails of the numbering.
latest AS (
    SELECT r.id, r.uid, r.outcome, r.sha1, r.duplicate_of, r.created_at FROM box, LATERAL (
        SELECT id, uid, outcome, sha1, duplicate_of, created_at FROM messages
        WHERE mailbox_id = box.id AND uid_validity = box.uid_validity ORDER BY uid DESC LIMIT :examined
    ) r
),
-- Of these, the mails with a webhook, and copies that were followed from another mailbox.
tracked AS (
    SELECT l.id, coalesce(l.duplicate_of, l.id) AS original, encode(coalesce(o.sha1, l.sha1), 'hex') AS sha1, l.uid,
           l.created_at, f.flags, f.absent_since, coalesce(f.is_gone, false) AS is_gone
    FROM latest l
    LEFT JOIN mail_flags f ON f.message_id = l.id
    LEFT JOIN messages o ON o.id = l.duplicate_of AND o.partner_id = :partner_id
    WHERE l.outcome = 'delivered' OR f.message_id IS NOT NULL
    ORDER BY l.uid DESC LIMIT :compared
)
SELECT now() AS now, box.seen_at, box.modseq, (SELECT min(uid) FROM tracked) AS lowest_uid, ARRAY(
    SELECT (t.id, t.original, t.sha1, t.uid,
            CASE WHEN box.seen_at IS NULL THEN NULL
                 WHEN t.flags IS NOT NULL THEN t.flags
                 WHEN t.created_at > box.seen_at THEN '' END,
            CASE WHEN box.seen_at IS NOT NULL THEN t.absent_since END,
            t.flags IS NOT NULL AND box.seen_at IS NOT NULL)
    FROM tracked t WHERE NOT t.is_gone ORDER BY t.uid
) AS mails
FROM box;

-- name: find_copies
-- The latest copy of each of these mails in another mailbox of the user, recorded after it.
SELECT DISTINCT ON (wanted.message) wanted.message, copy.id AS copy, b.name AS mailbox
FROM unnest(:messages::bigint[], :originals::bigint[]) AS wanted(message, original)
JOIN messages o ON o.id = wanted.original AND o.partner_id = :partner_id
JOIN messages copy ON copy.user_id = :user_id AND copy.sha1 = o.sha1 AND copy.duplicate_of = wanted.original
    AND copy.id > wanted.message
JOIN messages own ON own.id = wanted.message AND own.partner_id = :partner_id AND own.mailbox_id <> copy.mailbox_id
JOIN mailboxes b ON b.id = copy.mailbox_id
WHERE o.user_id = :user_id
ORDER BY wanted.message, copy.id DESC;

-- name: record_changes^
-- Records the changes of one look with their deliveries, all or nothing. The arrays from :messages to :is_gone have
-- one element for each mail, those from :delivery_ids one for each event. The ids are made before the first
-- attempt, so that a repetition writes nothing twice.
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
-- The mailbox with its last look, in the numbering that was looked at. Everything below depends on this CTE, and
-- through it on the fence.
box AS (
    UPDATE mailboxes m SET changes_seen_at = :looked_at, changes_uid_validity = :uid_validity,
        changes_modseq = :modseq
    FROM watched
    WHERE m.id = :mailbox_id AND m.user_id = watched.id AND m.partner_id = :partner_id
      AND m.uid_validity = :uid_validity
    RETURNING m.id
),
-- The new states. A copy in another mailbox is followed from now on.
stored AS (
    INSERT INTO mail_flags (message_id, partner_id, mailbox_id, uid_validity, uid, flags, absent_since, is_gone)
    SELECT m.id, m.partner_id, m.mailbox_id, m.uid_validity, m.uid, s.flags, s.absent_since, s.is_gone
    FROM box, unnest(:messages::bigint[], :flags::text[], :absent_since::timestamptz[], :is_gone::boolean[])
        AS s(message, flags, absent_since, is_gone)
    JOIN messages m ON m.id = s.message AND m.partner_id = :partner_id AND m.user_id = :user_id
    ON CONFLICT (message_id) DO UPDATE SET flags = excluded.flags, absent_since = excluded.absent_since,
        is_gone = excluded.is_gone
),
-- States that are not compared any more.
forgotten AS (
    DELETE FROM mail_flags f USING box
    WHERE f.mailbox_id = box.id AND f.uid_validity = :uid_validity AND f.uid < :lowest_uid
),
-- The deliveries, if the partner has a URL for events still.
new_deliveries AS (
    INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind, content)
    SELECT d.id, :partner_id, e.id, :user_id, 'events', d.content
    FROM box, unnest(:delivery_ids::uuid[], :contents::bytea[]) AS d(id, content)
    JOIN endpoints e ON e.partner_id = :partner_id AND e.kind = 'events' AND e.url IS NOT NULL
    ON CONFLICT (partner_id, id) DO NOTHING
    RETURNING endpoint_id
)
SELECT (SELECT count(*) FROM box) AS recorded,
       ARRAY(SELECT DISTINCT endpoint_id FROM new_deliveries) AS endpoints;
