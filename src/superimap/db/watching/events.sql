-- Statements of events.py.

-- name: load_event^
SELECT v.kind, v.code, v.reason, v.at, u.tag, p.code
FROM user_events v
JOIN users u ON u.id = v.user_id
JOIN connections c ON c.id = u.connection_id
JOIN providers p ON p.id = c.provider_id
WHERE v.id = :event_id;
