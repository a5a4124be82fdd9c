-- Statements of activity.py: sums over intervals, each read by the primary key of its table.

-- name: read_clock^
-- This moment, and the time up to which everything is counted.
SELECT now() AS now, (SELECT min(counted_to) FROM activity_marks) AS counted_to;

-- name: partner_slots
-- Of one endpoint, if :endpoint_id is given.
SELECT date_bin(make_interval(secs => :step), began_at, :since::timestamptz) AS began_at,
    sum(mails)::bigint AS mails, sum(skipped)::bigint AS skipped, sum(delivered)::bigint AS delivered,
    sum(failed)::bigint AS failed, sum(cancelled)::bigint AS cancelled, sum(accepted)::bigint AS accepted,
    sum(refused)::bigint AS refused, sum(unanswered)::bigint AS unanswered, sum(unsent)::bigint AS unsent
FROM activity
WHERE partner_id = :partner_id AND began_at >= :since::timestamptz
    AND (:endpoint_id::bigint IS NULL OR endpoint_id = :endpoint_id::bigint)
GROUP BY 1 ORDER BY 1;

-- name: partner_histograms^
-- Of the whole time, bucket by bucket: elements are added faster than arrays.
SELECT ARRAY[
        sum(latencies[1]), sum(latencies[2]), sum(latencies[3]), sum(latencies[4]), sum(latencies[5]),
        sum(latencies[6]), sum(latencies[7]), sum(latencies[8]), sum(latencies[9]), sum(latencies[10]),
        sum(latencies[11]), sum(latencies[12]), sum(latencies[13]), sum(latencies[14]), sum(latencies[15]),
        sum(latencies[16]), sum(latencies[17])
    ]::bigint[] AS latencies,
    ARRAY[
        sum(answer_times[1]), sum(answer_times[2]), sum(answer_times[3]), sum(answer_times[4]),
        sum(answer_times[5]), sum(answer_times[6]), sum(answer_times[7]), sum(answer_times[8]),
        sum(answer_times[9]), sum(answer_times[10]), sum(answer_times[11]), sum(answer_times[12]),
        sum(answer_times[13]), sum(answer_times[14]), sum(answer_times[15]), sum(answer_times[16]),
        sum(answer_times[17])
    ]::bigint[] AS answer_times
FROM activity
WHERE partner_id = :partner_id AND began_at >= :since::timestamptz
    AND (:endpoint_id::bigint IS NULL OR endpoint_id = :endpoint_id::bigint);

-- name: provider_slots
-- Of each provider.
SELECT provider_id, s.*
FROM (SELECT id AS provider_id FROM providers) v CROSS JOIN LATERAL (
    SELECT date_bin(make_interval(secs => :step), a.began_at, :since::timestamptz) AS began_at,
        sum(a.mails)::bigint AS mails, sum(a.skipped)::bigint AS skipped, sum(a.delivered)::bigint AS delivered,
        sum(a.failed)::bigint AS failed, sum(a.cancelled)::bigint AS cancelled, sum(a.refusals)::bigint AS refusals,
        sum(a.silences)::bigint AS silences
    FROM provider_activity a WHERE a.provider_id = v.provider_id AND a.began_at >= :since::timestamptz
    GROUP BY 1
) s
ORDER BY 1, 2;

-- name: provider_histograms
-- Of the whole time.
SELECT a.provider_id, ARRAY[
        sum(a.latencies[1]), sum(a.latencies[2]), sum(a.latencies[3]), sum(a.latencies[4]),
        sum(a.latencies[5]), sum(a.latencies[6]), sum(a.latencies[7]), sum(a.latencies[8]),
        sum(a.latencies[9]), sum(a.latencies[10]), sum(a.latencies[11]), sum(a.latencies[12]),
        sum(a.latencies[13]), sum(a.latencies[14]), sum(a.latencies[15]), sum(a.latencies[16]),
        sum(a.latencies[17])
    ]::bigint[] AS latencies,
    ARRAY[
        sum(a.delays[1]), sum(a.delays[2]), sum(a.delays[3]), sum(a.delays[4]),
        sum(a.delays[5]), sum(a.delays[6]), sum(a.delays[7]), sum(a.delays[8]),
        sum(a.delays[9]), sum(a.delays[10]), sum(a.delays[11]), sum(a.delays[12]),
        sum(a.delays[13]), sum(a.delays[14]), sum(a.delays[15]), sum(a.delays[16]),
        sum(a.delays[17])
    ]::bigint[] AS delays,
    ARRAY[
        sum(a.recordings[1]), sum(a.recordings[2]), sum(a.recordings[3]), sum(a.recordings[4]),
        sum(a.recordings[5]), sum(a.recordings[6]), sum(a.recordings[7]), sum(a.recordings[8]),
        sum(a.recordings[9]), sum(a.recordings[10]), sum(a.recordings[11]), sum(a.recordings[12]),
        sum(a.recordings[13]), sum(a.recordings[14]), sum(a.recordings[15]), sum(a.recordings[16]),
        sum(a.recordings[17])
    ]::bigint[] AS recordings
FROM (SELECT id AS provider_id FROM providers) v CROSS JOIN LATERAL (
    SELECT * FROM provider_activity p WHERE p.provider_id = v.provider_id AND p.began_at >= :since::timestamptz
) a
GROUP BY 1;

-- name: idler_samples
SELECT idler_id, began_at, sessions, capacity, users
FROM unnest(:idler_ids::bigint[]) AS given(id) CROSS JOIN LATERAL (
    SELECT * FROM idler_activity a WHERE a.idler_id = given.id AND a.began_at >= :since::timestamptz
    ORDER BY a.began_at LIMIT :most
) s
ORDER BY 1, 2;
