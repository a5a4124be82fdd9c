-- Statements of traces.py.

-- name: read_traces
-- Settled deliveries with their mails and attempts, for each pair of :partner_ids and :ids that exists.
SELECT d.id, d.partner_id, d.endpoint_id, d.kind, d.state, d.created_at, d.settled_at, d.message_id,
    m.internal_date, m.created_at AS message_created_at, m.recording_milliseconds, m.found_by,
    (SELECT v.code FROM providers v WHERE v.id = (
        SELECT c.provider_id FROM connections c
        WHERE c.id = (SELECT u.connection_id FROM users u WHERE u.id = d.user_id))) AS provider,
    ARRAY(
        SELECT (a.id, a.number, a.started_at, a.milliseconds, a.code, a.error)
        FROM attempts a WHERE a.delivery_id = d.id ORDER BY a.started_at, a.id
    ) AS attempts
FROM unnest(:partner_ids::bigint[], :ids::uuid[]) AS given(partner_id, id)
JOIN deliveries d ON d.partner_id = given.partner_id AND d.id = given.id
LEFT JOIN messages m ON m.id = d.message_id AND m.partner_id = d.partner_id
WHERE d.settled_at IS NOT NULL;

-- name: list_cancelled
-- The deliveries that were cancelled after :counted_to and not after :count_to. Their rows were read just now.
SELECT partner_id, id FROM deliveries
WHERE settled_at > :counted_to AND settled_at <= :count_to AND state = 'cancelled' ORDER BY settled_at LIMIT :limit;
