-- Statements of activity.py. Each row that is counted is read once, by an index that exists for something else.

-- name: lock_mark^
-- The mark of a source, locked until the end of the transaction: of two processes, the second one finds it moved.
SELECT counted_to, counted_id,
    least(now() - make_interval(secs => :lag), counted_to + make_interval(secs => :slice)) AS count_to
FROM activity_marks WHERE source = :source FOR UPDATE;

-- name: move_mark!
UPDATE activity_marks SET counted_to = :count_to::timestamptz, counted_id = :count_id::bigint WHERE source = :source;

-- name: find_last_message^
-- The last of the next messages, in the order of their ids, before the first one that is too young; and whether more
-- of them follow that are old enough.
SELECT coalesce(min(id) FILTER (WHERE created_at > :count_to) - 1, max(id), :counted_id::bigint) AS count_id,
    count(*) = :most AND min(id) FILTER (WHERE created_at > :count_to) IS NULL AS is_part
FROM (SELECT id, created_at FROM messages WHERE id > :counted_id::bigint ORDER BY id LIMIT :most) following;

-- name: add_messages!
WITH
-- The messages, with the endpoint of their webhooks and the provider of their mailboxes. Subqueries, because a join
-- may be planned to read all users.
counted AS MATERIALIZED (
    SELECT m.partner_id, m.created_at, m.outcome,
        CASE WHEN w.is_watched AND w.delay BETWEEN 0 AND :max_delay::float8
            THEN width_bucket(w.delay, :bounds::float8[]) END AS delay_place,
        CASE WHEN w.is_watched THEN width_bucket(w.recording, :bounds::float8[]) END AS recording_place,
        coalesce((SELECT e.id FROM endpoints e WHERE e.partner_id = m.partner_id AND e.kind = 'new_mail'), 0)
            AS endpoint_id,
        (SELECT c.provider_id FROM connections c
            WHERE c.id = (SELECT u.connection_id FROM users u WHERE u.id = m.user_id)) AS provider_id
    FROM messages m, LATERAL (
        -- In seconds, of mails that were found while their mailbox was watched. A negative delay is not one: the
        -- server's clock is ahead. A very long one is that of a mail that was moved or imported.
        SELECT m.found_by = ANY(:watched::smallint[]) AND m.outcome NOT IN ('deferred', 'gone') AS is_watched,
            m.recording_milliseconds / 1000.0::float8 AS recording,
            extract(epoch FROM m.created_at - m.internal_date)::float8 - m.recording_milliseconds / 1000.0::float8
                AS delay
    ) w
    WHERE m.id > :counted_id::bigint AND m.id <= :count_id::bigint
),
-- The same by provider.
of_providers AS (
    INSERT INTO provider_activity AS a (provider_id, began_at, seconds, mails, skipped, delays, recordings)
    SELECT provider_id, date_bin(make_interval(secs => :provider_grain), created_at, 'epoch'), :provider_grain,
        count(*), count(*) FILTER (WHERE outcome <> 'delivered'),
        ARRAY[
            count(*) FILTER (WHERE delay_place = 0), count(*) FILTER (WHERE delay_place = 1), count(*) FILTER (WHERE delay_place = 2),
            count(*) FILTER (WHERE delay_place = 3), count(*) FILTER (WHERE delay_place = 4), count(*) FILTER (WHERE delay_place = 5),
            count(*) FILTER (WHERE delay_place = 6), count(*) FILTER (WHERE delay_place = 7), count(*) FILTER (WHERE delay_place = 8),
            count(*) FILTER (WHERE delay_place = 9), count(*) FILTER (WHERE delay_place = 10), count(*) FILTER (WHERE delay_place = 11),
            count(*) FILTER (WHERE delay_place = 12), count(*) FILTER (WHERE delay_place = 13), count(*) FILTER (WHERE delay_place = 14),
            count(*) FILTER (WHERE delay_place = 15), count(*) FILTER (WHERE delay_place = 16)
        ]::int[],
        ARRAY[
            count(*) FILTER (WHERE recording_place = 0), count(*) FILTER (WHERE recording_place = 1), count(*) FILTER (WHERE recording_place = 2),
            count(*) FILTER (WHERE recording_place = 3), count(*) FILTER (WHERE recording_place = 4), count(*) FILTER (WHERE recording_place = 5),
            count(*) FILTER (WHERE recording_place = 6), count(*) FILTER (WHERE recording_place = 7), count(*) FILTER (WHERE recording_place = 8),
            count(*) FILTER (WHERE recording_place = 9), count(*) FILTER (WHERE recording_place = 10), count(*) FILTER (WHERE recording_place = 11),
            count(*) FILTER (WHERE recording_place = 12), count(*) FILTER (WHERE recording_place = 13), count(*) FILTER (WHERE recording_place = 14),
            count(*) FILTER (WHERE recording_place = 15), count(*) FILTER (WHERE recording_place = 16)
        ]::int[]
    FROM counted GROUP BY 1, 2
    ON CONFLICT (provider_id, began_at, seconds) DO UPDATE
        SET mails = a.mails + excluded.mails, skipped = a.skipped + excluded.skipped,
            delays = add_counts(a.delays, excluded.delays), recordings = add_counts(a.recordings, excluded.recordings)
)
INSERT INTO activity AS a (partner_id, endpoint_id, began_at, seconds, mails, skipped)
SELECT partner_id, endpoint_id, date_bin(make_interval(secs => :partner_grain), created_at, 'epoch'), :partner_grain,
    count(*), count(*) FILTER (WHERE outcome <> 'delivered')
FROM counted GROUP BY 1, 2, 3
ON CONFLICT (partner_id, began_at, endpoint_id, seconds) DO UPDATE
    SET mails = a.mails + excluded.mails, skipped = a.skipped + excluded.skipped;

-- name: add_deliveries!
WITH
-- The deliveries that have ended, with the bucket of their latency. A delivery that was replayed has none: its time
-- says how long a person waited.
counted AS MATERIALIZED (
    SELECT d.partner_id, d.endpoint_id, d.settled_at, d.state,
        CASE WHEN d.state = 'delivered' AND d.attempts_before = 0
            THEN width_bucket(extract(epoch FROM d.settled_at - d.created_at)::float8, :bounds::float8[]) END AS place,
        (SELECT c.provider_id FROM connections c
            WHERE c.id = (SELECT u.connection_id FROM users u WHERE u.id = d.user_id)) AS provider_id
    FROM deliveries d WHERE d.settled_at > :counted_to AND d.settled_at <= :count_to
),
-- The same by provider.
of_providers AS (
    INSERT INTO provider_activity AS a (provider_id, began_at, seconds, delivered, failed, cancelled, latencies)
    SELECT provider_id, date_bin(make_interval(secs => :provider_grain), settled_at, 'epoch'), :provider_grain,
        count(*) FILTER (WHERE state = 'delivered'), count(*) FILTER (WHERE state = 'failed'),
        count(*) FILTER (WHERE state = 'cancelled'),
        ARRAY[
            count(*) FILTER (WHERE place = 0), count(*) FILTER (WHERE place = 1), count(*) FILTER (WHERE place = 2),
            count(*) FILTER (WHERE place = 3), count(*) FILTER (WHERE place = 4), count(*) FILTER (WHERE place = 5),
            count(*) FILTER (WHERE place = 6), count(*) FILTER (WHERE place = 7), count(*) FILTER (WHERE place = 8),
            count(*) FILTER (WHERE place = 9), count(*) FILTER (WHERE place = 10), count(*) FILTER (WHERE place = 11),
            count(*) FILTER (WHERE place = 12), count(*) FILTER (WHERE place = 13), count(*) FILTER (WHERE place = 14),
            count(*) FILTER (WHERE place = 15), count(*) FILTER (WHERE place = 16)
        ]::int[]
    FROM counted GROUP BY 1, 2
    ON CONFLICT (provider_id, began_at, seconds) DO UPDATE SET
        delivered = a.delivered + excluded.delivered, failed = a.failed + excluded.failed,
        cancelled = a.cancelled + excluded.cancelled, latencies = add_counts(a.latencies, excluded.latencies)
)
INSERT INTO activity AS a (partner_id, endpoint_id, began_at, seconds, delivered, failed, cancelled, latencies)
SELECT partner_id, endpoint_id, date_bin(make_interval(secs => :partner_grain), settled_at, 'epoch'), :partner_grain,
    count(*) FILTER (WHERE state = 'delivered'), count(*) FILTER (WHERE state = 'failed'),
    count(*) FILTER (WHERE state = 'cancelled'),
    ARRAY[
        count(*) FILTER (WHERE place = 0), count(*) FILTER (WHERE place = 1), count(*) FILTER (WHERE place = 2),
        count(*) FILTER (WHERE place = 3), count(*) FILTER (WHERE place = 4), count(*) FILTER (WHERE place = 5),
        count(*) FILTER (WHERE place = 6), count(*) FILTER (WHERE place = 7), count(*) FILTER (WHERE place = 8),
        count(*) FILTER (WHERE place = 9), count(*) FILTER (WHERE place = 10), count(*) FILTER (WHERE place = 11),
        count(*) FILTER (WHERE place = 12), count(*) FILTER (WHERE place = 13), count(*) FILTER (WHERE place = 14),
        count(*) FILTER (WHERE place = 15), count(*) FILTER (WHERE place = 16)
    ]::int[]
FROM counted GROUP BY 1, 2, 3
ON CONFLICT (partner_id, began_at, endpoint_id, seconds) DO UPDATE SET
    delivered = a.delivered + excluded.delivered, failed = a.failed + excluded.failed,
    cancelled = a.cancelled + excluded.cancelled, latencies = add_counts(a.latencies, excluded.latencies);

-- name: add_attempts!
WITH
-- The attempts, by their ids, which begin with the time; with the endpoint of their delivery.
counted AS MATERIALIZED (
    SELECT a.partner_id, a.started_at, a.code, a.error = ANY(:local_errors::text[]) IS TRUE AS is_unsent,
        CASE WHEN a.code IS NOT NULL THEN width_bucket(a.milliseconds / 1000.0::float8, :bounds::float8[]) END AS place,
        (SELECT d.endpoint_id FROM deliveries d WHERE d.partner_id = a.partner_id AND d.id = a.delivery_id)
            AS endpoint_id
    FROM attempts a WHERE a.id >= :first_id::uuid AND a.id < :end_id::uuid
)
INSERT INTO activity AS a
    (partner_id, endpoint_id, began_at, seconds, accepted, refused, unanswered, unsent, answer_times)
SELECT partner_id, endpoint_id, date_bin(make_interval(secs => :partner_grain), started_at, 'epoch'), :partner_grain,
    count(*) FILTER (WHERE code BETWEEN 200 AND 299),
    count(*) FILTER (WHERE code NOT BETWEEN 200 AND 299),
    count(*) FILTER (WHERE code IS NULL AND NOT is_unsent),
    count(*) FILTER (WHERE code IS NULL AND is_unsent),
    ARRAY[
        count(*) FILTER (WHERE place = 0), count(*) FILTER (WHERE place = 1), count(*) FILTER (WHERE place = 2),
        count(*) FILTER (WHERE place = 3), count(*) FILTER (WHERE place = 4), count(*) FILTER (WHERE place = 5),
        count(*) FILTER (WHERE place = 6), count(*) FILTER (WHERE place = 7), count(*) FILTER (WHERE place = 8),
        count(*) FILTER (WHERE place = 9), count(*) FILTER (WHERE place = 10), count(*) FILTER (WHERE place = 11),
        count(*) FILTER (WHERE place = 12), count(*) FILTER (WHERE place = 13), count(*) FILTER (WHERE place = 14),
        count(*) FILTER (WHERE place = 15), count(*) FILTER (WHERE place = 16)
    ]::int[]
FROM counted GROUP BY 1, 2, 3
ON CONFLICT (partner_id, began_at, endpoint_id, seconds) DO UPDATE SET
    accepted = a.accepted + excluded.accepted, refused = a.refused + excluded.refused,
    unanswered = a.unanswered + excluded.unanswered, unsent = a.unsent + excluded.unsent,
    answer_times = add_counts(a.answer_times, excluded.answer_times);

-- name: add_events!
WITH
-- The events of users that say something about their provider.
counted AS MATERIALIZED (
    SELECT v.at, v.kind,
        (SELECT c.provider_id FROM connections c
            WHERE c.id = (SELECT u.connection_id FROM users u WHERE u.id = v.user_id)) AS provider_id
    FROM user_events v
    WHERE v.at > :counted_to AND v.at <= :count_to AND v.kind IN (:refused_kind, :silent_kind)
)
INSERT INTO provider_activity AS a (provider_id, began_at, seconds, refusals, silences)
SELECT provider_id, date_bin(make_interval(secs => :provider_grain), at, 'epoch'), :provider_grain,
    count(*) FILTER (WHERE kind = :refused_kind), count(*) FILTER (WHERE kind = :silent_kind)
FROM counted GROUP BY 1, 2
ON CONFLICT (provider_id, began_at, seconds) DO UPDATE
    SET refusals = a.refusals + excluded.refusals, silences = a.silences + excluded.silences;

-- name: sample_idlers!
WITH
-- The idlers that are alive, and the interval of this moment.
living AS (
    SELECT id, sessions, capacity, users, date_bin(make_interval(secs => :grain), now(), 'epoch') AS began_at
    FROM idlers WHERE heartbeat_at > now() - make_interval(secs => :expiry) AND absent_since IS NULL
)
INSERT INTO idler_activity (idler_id, began_at, sessions, capacity, users)
SELECT id, began_at, sessions, capacity, users FROM living
UNION ALL
SELECT 0, date_bin(make_interval(secs => :grain), now(), 'epoch'), coalesce(sum(sessions), 0),
    coalesce(sum(capacity), 0), coalesce(sum(users), 0)
FROM living
ON CONFLICT (idler_id, began_at) DO NOTHING;

-- name: coarsen_partners$
WITH
-- The oldest rows that are long enough ago, removed; a part of an hour may follow with the next batch.
removed AS (
    DELETE FROM activity WHERE (partner_id, began_at, endpoint_id, seconds) IN (
        SELECT partner_id, began_at, endpoint_id, seconds FROM activity
        WHERE seconds = :fine AND began_at < now() - make_interval(secs => :days * 86400)
        ORDER BY began_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    RETURNING *
),
-- Their sums.
added AS (
    INSERT INTO activity AS a (partner_id, endpoint_id, began_at, seconds, mails, skipped, delivered, failed,
        cancelled, accepted, refused, unanswered, unsent, latencies, answer_times)
    SELECT partner_id, endpoint_id, date_bin(make_interval(secs => :coarse), began_at, 'epoch'), :coarse,
        sum(mails), sum(skipped), sum(delivered), sum(failed), sum(cancelled), sum(accepted), sum(refused),
        sum(unanswered), sum(unsent), sum_counts(latencies), sum_counts(answer_times)
    FROM removed GROUP BY 1, 2, 3
    ON CONFLICT (partner_id, began_at, endpoint_id, seconds) DO UPDATE SET
        mails = a.mails + excluded.mails, skipped = a.skipped + excluded.skipped,
        delivered = a.delivered + excluded.delivered, failed = a.failed + excluded.failed,
        cancelled = a.cancelled + excluded.cancelled, accepted = a.accepted + excluded.accepted,
        refused = a.refused + excluded.refused, unanswered = a.unanswered + excluded.unanswered,
        unsent = a.unsent + excluded.unsent, latencies = add_counts(a.latencies, excluded.latencies),
        answer_times = add_counts(a.answer_times, excluded.answer_times)
)
SELECT count(*) FROM removed;

-- name: coarsen_providers$
WITH
-- As for partners.
removed AS (
    DELETE FROM provider_activity WHERE (provider_id, began_at, seconds) IN (
        SELECT provider_id, began_at, seconds FROM provider_activity
        WHERE seconds = :fine AND began_at < now() - make_interval(secs => :days * 86400)
        ORDER BY began_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    RETURNING *
),
-- Their sums.
added AS (
    INSERT INTO provider_activity AS a (provider_id, began_at, seconds, mails, skipped, delivered, failed, cancelled,
        refusals, silences, latencies, delays, recordings)
    SELECT provider_id, date_bin(make_interval(secs => :coarse), began_at, 'epoch'), :coarse, sum(mails),
        sum(skipped), sum(delivered), sum(failed), sum(cancelled), sum(refusals), sum(silences), sum_counts(latencies),
        sum_counts(delays), sum_counts(recordings)
    FROM removed GROUP BY 1, 2
    ON CONFLICT (provider_id, began_at, seconds) DO UPDATE SET
        mails = a.mails + excluded.mails, skipped = a.skipped + excluded.skipped,
        delivered = a.delivered + excluded.delivered, failed = a.failed + excluded.failed,
        cancelled = a.cancelled + excluded.cancelled, refusals = a.refusals + excluded.refusals,
        silences = a.silences + excluded.silences, latencies = add_counts(a.latencies, excluded.latencies),
        delays = add_counts(a.delays, excluded.delays), recordings = add_counts(a.recordings, excluded.recordings)
)
SELECT count(*) FROM removed;

-- name: delete_old_partners!
DELETE FROM activity WHERE (partner_id, began_at, endpoint_id, seconds) IN (
    SELECT partner_id, began_at, endpoint_id, seconds FROM activity
    WHERE seconds = :coarse AND began_at < now() - make_interval(secs => :days * 86400)
    ORDER BY began_at LIMIT :limit FOR UPDATE SKIP LOCKED
);

-- name: delete_old_providers!
DELETE FROM provider_activity WHERE (provider_id, began_at, seconds) IN (
    SELECT provider_id, began_at, seconds FROM provider_activity
    WHERE seconds = :coarse AND began_at < now() - make_interval(secs => :days * 86400)
    ORDER BY began_at LIMIT :limit FOR UPDATE SKIP LOCKED
);

-- name: delete_old_idlers!
DELETE FROM idler_activity WHERE (idler_id, began_at) IN (
    SELECT idler_id, began_at FROM idler_activity
    WHERE began_at < now() - make_interval(secs => :days * 86400)
    ORDER BY began_at LIMIT :limit FOR UPDATE SKIP LOCKED
);
