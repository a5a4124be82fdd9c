-- Statements of tracers.py. All times are PostgreSQL's.

-- name: choose_tracer_user^
WITH
-- Mailboxes with tracers. Operators mark them one by one, so they are few.
marked AS (
    SELECT id, partner_id, connection_id, status FROM users
    WHERE enable_tracer AND NOT archived AND connected_at IS NOT NULL ORDER BY id LIMIT :most
),
-- Those into which a tracer may be put. Nothing is appended to a mailbox of a customer: only to a canary's.
candidates AS (
    SELECT m.id, m.partner_id, m.status, c.provider_id, p.tracer_by, canary.is_canary, last.at AS last_at
    FROM marked m JOIN connections c ON c.id = m.connection_id JOIN providers p ON p.id = c.provider_id
    CROSS JOIN LATERAL (SELECT EXISTS (
        SELECT FROM endpoints e WHERE e.partner_id = m.partner_id AND e.kind = 'new_mail' AND e.url = :sink_url
    )) canary(is_canary)
    -- The last tracer, and how many in a row up to it were not accepted. One that was never tried ends the row.
    CROSS JOIN LATERAL (
        SELECT max(t.created_at) AS at, coalesce(min(t.place) FILTER (WHERE NOT t.is_failed) - 1, count(*)) AS failures
        FROM (
            SELECT created_at, row_number() OVER (ORDER BY created_at DESC) AS place,
                   accepted_at IS NULL AND detected_at IS NULL
                   AND coalesce(failure <> ALL(:not_tried::text[]), true) AS is_failed
            FROM tracers WHERE user_id = m.id ORDER BY created_at DESC LIMIT :counted_failures
        ) t
    ) last
    WHERE (p.tracer_by = 'smtp' OR p.tracer_by = 'append' AND canary.is_canary)
      AND (last.failures = 0 OR last.at <= now() - make_interval(
          secs => least(:first_pause::float8 * 2 ^ (last.failures - 1), :longest_pause::float8)))
)
-- The provider that has waited longest, and of its mailboxes the one that has.
SELECT c.id AS user_id, c.status, c.tracer_by, c.is_canary, p.code AS provider_code, p.smtp_host, p.smtp_port,
       p.smtp_domain, p.smtp_tls, p.host_by_user
FROM candidates c JOIN providers p ON p.id = c.provider_id
ORDER BY max(c.last_at) OVER (PARTITION BY c.provider_id) NULLS FIRST, c.last_at NULLS FIRST, c.id LIMIT 1;

-- name: next_tracer_in$
-- The seconds until the next tracer is due; 0 if none was made within the spacing.
SELECT greatest(0, extract(epoch FROM max(created_at) - now()) + :spacing::float8)::float8 FROM (
    SELECT created_at FROM tracers ORDER BY created_at DESC LIMIT 1
) last;

-- name: make_tracer$
-- The row of a tracer, before the mail is sent. None if the idler no longer owns the shard of tracers, or if another
-- tracer was made within the spacing: then that one counts.
WITH fence AS (
    SELECT 1 FROM shards WHERE shard = :shard AND owner = :owner AND epoch = :epoch FOR KEY SHARE
)
INSERT INTO tracers (partner_id, user_id, provider_id, token_digest, sent_by, is_long, created_at)
SELECT u.partner_id, u.id, c.provider_id, :token_digest, :sent_by, :is_long, clock_timestamp()
FROM users u JOIN connections c ON c.id = u.connection_id, fence
WHERE u.id = :user_id AND u.enable_tracer AND NOT u.archived
  AND coalesce((SELECT t.created_at FROM tracers t ORDER BY t.created_at DESC LIMIT 1)
               <= now() - make_interval(secs => :spacing::float8), true)
RETURNING id;

-- name: record_accepted!
UPDATE tracers SET accepted_at = now() - make_interval(secs => :ago::float8) WHERE id = :tracer_id;

-- name: record_failure!
UPDATE tracers SET failure = :reason, failed_at = CASE WHEN :is_certain::boolean THEN now() END
WHERE id = :tracer_id AND accepted_at IS NULL;

-- name: judge_tracers
WITH
-- Tracers without a verdict, oldest first.
waiting AS (
    SELECT id FROM tracers WHERE verdict IS NULL ORDER BY created_at LIMIT :limit FOR UPDATE SKIP LOCKED
),
-- Their verdicts. One that was recorded is judged by its INTERNALDATE; a long one once its webhook was acknowledged,
-- or not for too long. One that was perhaps sent is waited for like one that was.
judged AS (
    UPDATE tracers t SET verdict = CASE
        WHEN t.detected_at IS NULL AND t.accepted_at IS NULL THEN 'unsendable'
        WHEN t.detected_at IS NULL THEN 'missing'
        WHEN t.detected_at - coalesce(t.internal_date, t.accepted_at, t.created_at)
             > make_interval(secs => :late_seconds::float8) THEN 'late'
        ELSE 'detected' END
    FROM waiting w
    WHERE t.id = w.id AND CASE
        WHEN t.detected_at IS NOT NULL THEN t.delivery_id IS NULL OR t.acknowledged_at IS NOT NULL
            OR t.detected_at < now() - make_interval(secs => :acknowledge_seconds::float8)
        WHEN t.failed_at IS NOT NULL THEN true
        ELSE coalesce(t.accepted_at, t.created_at + make_interval(secs => :send_seconds::float8))
             < now() - make_interval(secs => :missing_seconds::float8) END
    RETURNING t.*
),
-- Their number by day, for the objective.
counted AS (
    INSERT INTO tracer_days (provider_id, day, detected, late, missing, unsendable)
    SELECT j.provider_id, (j.created_at AT TIME ZONE 'UTC')::date,
           count(*) FILTER (WHERE j.verdict = 'detected'), count(*) FILTER (WHERE j.verdict = 'late'),
           count(*) FILTER (WHERE j.verdict = 'missing'), count(*) FILTER (WHERE j.verdict = 'unsendable')
    FROM judged j WHERE j.provider_id IS NOT NULL GROUP BY 1, 2
    ON CONFLICT (provider_id, day) DO UPDATE SET
        detected = tracer_days.detected + excluded.detected, late = tracer_days.late + excluded.late,
        missing = tracer_days.missing + excluded.missing, unsendable = tracer_days.unsendable + excluded.unsendable
)
SELECT j.id, j.verdict, p.code AS provider_code, j.created_at, j.accepted_at, j.internal_date, j.seen_at, j.fetched_at,
       j.detected_at, j.claimed_at, j.posted_at, j.acknowledged_at
FROM judged j JOIN providers p ON p.id = j.provider_id;

-- name: list_unclean
-- Tracers that are still in their mailboxes, oldest first, and whether these are canaries' (`choose_tracer_user`).
-- Without `uid_validity` the mailbox is renumbered. Users whose mailboxes failed lately do not take the place of others.
SELECT t.id, t.user_id, t.token_digest, t.uid, m.name AS folder,
       CASE WHEN m.uid_validity = t.uid_validity
            THEN coalesce(m.server_uid_validity, m.uid_validity) END AS uid_validity,
       extract(epoch FROM now() - t.detected_at)::float8 AS age, EXISTS (
           SELECT FROM endpoints e WHERE e.partner_id = t.partner_id AND e.kind = 'new_mail' AND e.url = :sink_url
       ) AS is_canary
FROM tracers t LEFT JOIN mailboxes m ON m.id = t.mailbox_id
WHERE t.detected_at IS NOT NULL AND t.clean_up IS NULL AND t.user_id <> ALL(:failing::bigint[])
ORDER BY t.detected_at LIMIT :limit;

-- name: record_clean_up!
UPDATE tracers SET clean_up = :clean_up WHERE id = ANY(:ids::bigint[]) AND clean_up IS NULL;
