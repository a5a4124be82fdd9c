-- Statements of sweeps.py. Those that write mails are fenced, as those of intake.sql are. All times are PostgreSQL's.

-- name: find_due
-- The sweeps that this idler may begin now: of its own shards, none that it runs already, and none of partners that
-- have their share. Those that were requested come first: thousands of mailboxes may be connected at once.
SELECT s.id, s.user_id, s.partner_id, s.shard FROM shards h
JOIN sweeps s ON s.shard = h.shard AND s.state IN ('waiting', 'running') AND s.due_at <= now()
WHERE h.owner = :idler AND s.id <> ALL(:running::bigint[]) AND s.partner_id <> ALL(:full::bigint[])
ORDER BY s.cause = 'connected', s.due_at LIMIT :limit;

-- name: look_at_sweep^
-- A sweep with everything that decides whether it goes on. `owed` counts due webhooks, :most at most.
SELECT s.id, s.user_id, s.partner_id, s.shard, s.state, s.folder, s.since, s.until, s.max_mails, s.direction, s.again,
    s.dry_run, s.sent, u.archived AS is_archived, u.connected_at IS NOT NULL AS is_connected, u.status,
    EXISTS (SELECT FROM partner_usage h WHERE h.partner_id = s.partner_id AND h.held_since IS NOT NULL) AS is_held,
    e.url IS NOT NULL AS has_url, e.disabled_at IS NOT NULL AS is_disabled,
    coalesce(e.breaker = 'open', false) AS is_breaker_open,
    (SELECT count(*) FROM (
        SELECT FROM deliveries d
        WHERE d.endpoint_id = e.id AND d.state = 'pending' AND d.due_at <= now() LIMIT :most
    ) due)::int AS owed
FROM sweeps s JOIN users u ON u.id = s.user_id
LEFT JOIN endpoints e ON e.partner_id = s.partner_id AND e.kind = 'new_mail'
WHERE s.id = :sweep_id;

-- name: find_watched_mailbox^
-- The folder of the mail account that is watched, with its cursor.
SELECT id, name, uid_validity, last_uid, coalesce(server_uid_validity, uid_validity) AS server_uid_validity, restarts,
    true AS is_watched
FROM mailboxes WHERE user_id = :user_id AND account = :account AND opened_at IS NOT NULL
ORDER BY opened_at DESC LIMIT 1;

-- name: find_mailbox^
-- A folder by its name. The first sweep of a folder that was never watched makes its row, without a cursor.
WITH
-- Ownership of the shard.
fence AS (
    SELECT 1 FROM shards WHERE shard = :shard AND owner = :owner AND epoch = :epoch FOR KEY SHARE
),
-- The new row, if there was none.
made AS (
    INSERT INTO mailboxes (user_id, partner_id, name, account)
    SELECT u.id, u.partner_id, :name::text, :account::text FROM users u, fence
    WHERE u.id = :user_id AND u.partner_id = :partner_id
    ON CONFLICT (user_id, account, name) DO NOTHING
    RETURNING id, uid_validity, restarts
)
SELECT id, :name::text AS name, uid_validity, NULL::bigint AS last_uid, NULL::bigint AS server_uid_validity, restarts,
    false AS is_watched
FROM made
UNION ALL
SELECT m.id, m.name, m.uid_validity, m.last_uid, coalesce(m.server_uid_validity, m.uid_validity), m.restarts,
    m.watched_since IS NOT NULL
FROM mailboxes m, fence WHERE m.user_id = :user_id AND m.account = :account AND m.name = :name;

-- name: begin_sweep^
-- Begins a sweep, or begins it again in another mailbox or numbering; otherwise it continues at `done_uid`.
WITH
-- Ownership of the shard.
fence AS (
    SELECT 1 FROM shards WHERE shard = :shard AND owner = :owner AND epoch = :epoch FOR KEY SHARE
),
-- The sweep, and whether it was here before.
place AS (
    SELECT id, (mailbox_id, uid_validity) IS NOT DISTINCT FROM (:mailbox_id::bigint, :uid_validity::bigint) AS is_same
    FROM sweeps, fence WHERE id = :sweep_id AND state IN ('waiting', 'running')
),
-- The end of the attempts at mails elsewhere: their UIDs mean other mails here.
ended AS (
    DELETE FROM sweep_mails m USING place WHERE m.sweep_id = place.id AND NOT place.is_same
)
UPDATE sweeps s SET state = 'running', reason = NULL, started_at = coalesce(s.started_at, now()),
    mailbox_id = :mailbox_id, uid_validity = :uid_validity,
    up_to_uid = CASE WHEN place.is_same THEN s.up_to_uid ELSE :up_to_uid END,
    done_uid = CASE WHEN place.is_same THEN s.done_uid END,
    done = CASE WHEN place.is_same THEN s.done ELSE 0 END,
    known = CASE WHEN place.is_same THEN s.known ELSE 0 END,
    skipped = CASE WHEN place.is_same THEN s.skipped ELSE 0 END,
    unreadable = CASE WHEN place.is_same THEN s.unreadable ELSE 0 END,
    sent = CASE WHEN place.is_same OR NOT s.dry_run THEN s.sent ELSE 0 END
FROM place
WHERE s.id = place.id AND s.state IN ('waiting', 'running')
RETURNING s.up_to_uid, s.done_uid, s.done, s.sent;

-- name: set_total!
UPDATE sweeps SET total = done + :left WHERE id = :sweep_id AND state = 'running';

-- name: find_unread
-- The mails of a sweep that could not be read, with the seconds until the next attempt.
SELECT uid, attempts, given_up_at IS NOT NULL AS is_given_up,
    extract(epoch FROM next_attempt_at - now())::float8 AS retry_in
FROM sweep_mails WHERE sweep_id = :sweep_id ORDER BY uid;

-- name: find_known
-- What is recorded of mails: UIDs with their outcomes.
SELECT uid, outcome FROM messages
WHERE mailbox_id = :mailbox_id AND uid_validity = :uid_validity AND uid = ANY(:uids::bigint[]);

-- name: record_sweep^
-- Records a batch with its deliveries and the sweep's progress, all or nothing. The cursor of the mailbox is asserted
-- and does not move. The parameters from :uid to :found_ago are arrays with one element for each mail.
WITH
-- Ownership of the shard. FOR KEY SHARE makes a change of owner, which changes the epoch, wait for this
-- transaction.
fence AS (
    SELECT 1 FROM shards WHERE shard = :shard AND owner = :owner AND epoch = :epoch FOR KEY SHARE
),
-- The user, unless archived or with other credentials than those of the connection.
watched AS (
    SELECT u.id FROM users u, fence
    WHERE u.id = :user_id AND NOT u.archived AND u.credentials_version = :credentials_version
),
-- The mailbox. If it is the watched one, its cursor must be in this numbering and not below what is swept: mails
-- above the cursor are left to the session that watches.
box AS (
    SELECT m.id FROM mailboxes m, watched
    WHERE m.id = :mailbox_id AND m.user_id = watched.id AND m.partner_id = :partner_id
      AND (NOT :is_watched::boolean OR m.uid_validity = :uid_validity AND m.last_uid >= :up_to_uid)
),
-- The sweep, locked, if it runs and is where this batch begins: a batch whose answer was lost, or that was paused or
-- cancelled meanwhile, is not recorded again. Everything below depends on this CTE.
sweep AS (
    SELECT s.id, s.again, s.created_at FROM sweeps s, box
    WHERE s.id = :sweep_id AND s.state = 'running'
      AND (s.mailbox_id, s.uid_validity) = (:mailbox_id::bigint, :uid_validity::bigint)
      AND s.done_uid IS NOT DISTINCT FROM :old_done_uid::bigint
    FOR NO KEY UPDATE OF s
),
-- The partner's endpoint for new mail; NULL without a URL.
endpoint AS (
    SELECT max(id) AS id FROM endpoints WHERE partner_id = :partner_id AND kind = 'new_mail' AND url IS NOT NULL
),
-- The mails of the batch, each with its row if it has one, and with `earlier_id`: the recorded mail of which it is a
-- copy, by the rules of intake.sql. (As a function of both, which PostgreSQL inlines, they made the intake 4 % slower:
-- it is planned at each execution.) A mail with the outcome `delivered`, or a copy of one, had its webhook.
incoming AS (
    SELECT i.*, seen.id AS seen_id, seen.outcome AS seen_outcome, endpoint.id AS endpoint_id,
        sweep.again, sweep.created_at AS swept_from,
        coalesce(CASE WHEN seen.outcome IN ('delivered', 'duplicate') THEN coalesce(seen.duplicate_of, seen.id) END,
                 earlier.id) AS earlier_id
    FROM sweep
    CROSS JOIN unnest(
        :uid::bigint[], :internal_date::timestamptz[], :size::bigint[], :outcome::text[], :detail::text[],
        :sha1::bytea[], :fingerprint::bytea[], :message_id::text[], :delivery_id::uuid[], :content::bytea[],
        :twin_uid::bigint[], :found_ago::int[]
    ) AS i(uid, internal_date, size, outcome, detail, sha1, fingerprint, message_id, delivery_id, content,
           twin_uid, found_ago)
    CROSS JOIN endpoint
    LEFT JOIN messages seen
        ON (seen.mailbox_id, seen.uid_validity, seen.uid) = (:mailbox_id, :uid_validity, i.uid)
    LEFT JOIN LATERAL (
        SELECT coalesce(e.duplicate_of, e.id) AS id FROM messages e
        WHERE e.user_id = :user_id AND e.outcome IN ('delivered', 'duplicate', 'tracer')
          AND (e.sha1 = i.sha1
               OR e.fingerprint = i.fingerprint AND e.internal_date = i.internal_date
                  AND (e.mailbox_id, e.uid_validity) <> (:mailbox_id, :uid_validity))
          AND i.outcome = 'delivered' AND i.size > 0
        LIMIT 1
    ) earlier ON true
),
-- The mails that have no row, or one without a webhook that this sweep may replace. `new_id` is the id of a new row.
fresh AS (
    SELECT nextval((SELECT pg_get_serial_sequence('messages', 'id')::regclass)) AS new_id, i.* FROM incoming i
    WHERE i.seen_id IS NULL
       OR i.outcome IN ('delivered', 'duplicate')
          AND i.seen_outcome IN ('before_connect', 'no_webhook', 'gone', 'too_big', 'unreadable')
),
-- Their rows with their final outcomes. `first_id` is the mail whose webhook covers this copy. A row that got another
-- outcome meanwhile stays.
recorded AS (
    INSERT INTO messages (id, partner_id, user_id, mailbox_id, uid_validity, uid, internal_date, size,
                          outcome, detail, sha1, fingerprint, message_id, duplicate_of, recording_milliseconds,
                          found_by)
    SELECT f.new_id, :partner_id, :user_id, :mailbox_id, :uid_validity, f.uid, f.internal_date, f.size,
           CASE WHEN f.outcome NOT IN ('delivered', 'duplicate') THEN f.outcome
                WHEN f.first_id IS NOT NULL THEN 'duplicate'
                WHEN f.endpoint_id IS NULL THEN 'no_webhook'
                ELSE 'delivered' END,
           f.detail, f.sha1, f.fingerprint, f.message_id, f.first_id, f.found_ago, :found_by::smallint
    FROM (
        SELECT f.*, coalesce(f.earlier_id, twin.earlier_id,
                             CASE WHEN f.endpoint_id IS NOT NULL THEN coalesce(twin.seen_id, twin.new_id) END) AS first_id
        FROM fresh f LEFT JOIN fresh twin ON twin.uid = f.twin_uid
    ) f
    ON CONFLICT (mailbox_id, uid_validity, uid) DO UPDATE
        SET internal_date = coalesce(excluded.internal_date, messages.internal_date), size = excluded.size,
            outcome = excluded.outcome, detail = excluded.detail, sha1 = excluded.sha1,
            fingerprint = coalesce(excluded.fingerprint, messages.fingerprint), duplicate_of = excluded.duplicate_of,
            message_id = coalesce(excluded.message_id, messages.message_id)
        WHERE messages.outcome IN ('before_connect', 'no_webhook', 'gone', 'too_big', 'unreadable')
    RETURNING id, uid, outcome
),
-- The mails that had their webhook and are sent again: one for each original, unless it has a webhook that was made
-- since this sweep was created.
resent AS (
    SELECT DISTINCT ON (i.earlier_id) i.earlier_id AS id, i.delivery_id, i.endpoint_id, i.content FROM incoming i
    WHERE i.again AND i.earlier_id IS NOT NULL AND i.outcome = 'delivered' AND i.content IS NOT NULL
      AND i.endpoint_id IS NOT NULL
      AND EXISTS (SELECT FROM messages m WHERE m.id = i.earlier_id AND m.partner_id = :partner_id
                  AND m.outcome = 'delivered')
      AND NOT EXISTS (SELECT FROM deliveries d WHERE d.message_id = i.earlier_id AND d.created_at >= i.swept_from)
    ORDER BY i.earlier_id, i.uid
),
-- The deliveries.
new_deliveries AS (
    INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, message_id, kind, content)
    SELECT i.delivery_id, :partner_id, i.endpoint_id, :user_id, r.id, 'new_mail', i.content
    FROM recorded r JOIN incoming i USING (uid) WHERE r.outcome = 'delivered'
    UNION ALL
    SELECT delivery_id, :partner_id, endpoint_id, :user_id, id, 'new_mail', content FROM resent
    ON CONFLICT (partner_id, id) DO NOTHING
    RETURNING endpoint_id
),
-- The mails that could not be read. A failure after another one counts as failing time.
unread AS (
    INSERT INTO sweep_mails AS m (sweep_id, uid, reason, next_attempt_at)
    SELECT sweep.id, f.uid, f.reason, now() + make_interval(secs => f.retry_in)
    FROM sweep CROSS JOIN unnest(:failed_uid::bigint[], :failed_reason::text[], :retry_in::float8[])
        AS f(uid, reason, retry_in)
    ON CONFLICT (sweep_id, uid) DO UPDATE SET reason = excluded.reason, next_attempt_at = excluded.next_attempt_at,
        attempts = m.attempts + 1, failed_at = now(),
        failing_seconds = m.failing_seconds + least(extract(epoch FROM now() - m.failed_at), :longest_gap::float8),
        given_up_at = CASE
            WHEN m.failing_seconds + least(extract(epoch FROM now() - m.failed_at), :longest_gap) >= :give_up::float8
            THEN now() END
),
-- Those that were read, or are gone.
cleared AS (
    DELETE FROM sweep_mails m USING sweep WHERE m.sweep_id = sweep.id AND m.uid = ANY(:cleared_uid::bigint[])
    RETURNING 1
),
-- What became of the batch. Mails that were given and got no webhook had one, or have none by a rule.
counted AS (
    SELECT (SELECT count(*) FROM new_deliveries) AS sent, (SELECT count(*) FROM recorded
            WHERE outcome NOT IN ('delivered', 'duplicate')) AS skipped, cardinality(:uid::bigint[]) AS given
),
-- The progress.
progress AS (
    UPDATE sweeps s SET done_uid = :new_done_uid, done = s.done + :looked_at, failures = 0,
        failing_since = NULL, failed_at = NULL, failing_seconds = 0,
        sent = s.sent + c.sent + :would_send, skipped = s.skipped + c.skipped + :skipped,
        known = s.known + :known + c.given - c.sent - c.skipped, unreadable = s.unreadable + :unreadable - (SELECT count(*) FROM cleared)
    FROM sweep, counted c WHERE s.id = sweep.id
    RETURNING s.sent
)
SELECT progress.sent, ARRAY(SELECT DISTINCT endpoint_id FROM new_deliveries) AS endpoints,
    ARRAY(SELECT outcome FROM recorded) AS outcomes FROM progress;

-- name: record_failure^
-- Counts a failure, and the time since the failure before if nothing was recorded in between.
UPDATE sweeps SET failures = failures + 1, failing_since = coalesce(failing_since, now()), failed_at = now(),
    failing_seconds = failing_seconds + coalesce(least(extract(epoch FROM now() - failed_at), :longest_gap::float8), 0)
WHERE id = :sweep_id AND state IN ('waiting', 'running')
RETURNING failures, failing_seconds;

-- name: postpone_sweep!
-- Nothing is read before :seconds have passed; :reason says why.
UPDATE sweeps SET due_at = now() + make_interval(secs => :seconds::float8), reason = :reason
WHERE id = :sweep_id AND state IN ('waiting', 'running');

-- name: end_sweep!
-- Ends a sweep. One that began because the mailbox was connected is followed by that of the next watched folder.
WITH
-- The sweep, unless it has ended.
ended AS (
    UPDATE sweeps SET state = :state, reason = :reason, finished_at = now()
    WHERE id = :sweep_id AND state IN ('waiting', 'running', 'paused')
    RETURNING partner_id, user_id, shard, since, direction, cause, actor_kind, made_by, state, mailbox_id
),
-- The first folder of the account that is on the list of the user, and has not been swept in this connection.
following AS (
    SELECT m.name FROM ended e JOIN mailboxes here ON here.id = e.mailbox_id
    JOIN mailboxes m ON m.user_id = e.user_id AND m.account = here.account
    WHERE e.cause = 'connected' AND e.state IN ('finished', 'failed') AND m.watched_since IS NOT NULL
      AND m.id <> e.mailbox_id
      AND NOT EXISTS (SELECT FROM sweeps s WHERE s.user_id = e.user_id AND s.cause = 'connected'
                      AND (s.folder = m.name OR s.mailbox_id = m.id))
    ORDER BY m.id LIMIT 1
)
INSERT INTO sweeps (partner_id, user_id, shard, folder, since, direction, cause, actor_kind, made_by)
SELECT e.partner_id, e.user_id, e.shard, f.name, e.since, e.direction, e.cause, e.actor_kind, e.made_by
FROM ended e, following f;
