-- Statements of protocol_logs.py.

-- name: list_active
-- The mailboxes that are logged now: a few, by the index of the end.
SELECT l.user_id, u.shard, extract(epoch FROM l.started_at)::float8 AS started_at,
    extract(epoch FROM l.ends_at - now())::float8 AS seconds_left
FROM protocol_logs l JOIN users u ON u.id = l.user_id
WHERE l.ends_at > now() ORDER BY l.ends_at LIMIT :limit;

-- name: write_lines!
-- :user_ids, :times, :directions and :lines are arrays of equal length.
WITH entries AS (
    SELECT g.*, row_number() OVER (PARTITION BY g.user_id ORDER BY g.number) AS place
    FROM unnest(:user_ids::bigint[], :times::float8[], :directions::text[], :lines::text[])
        WITH ORDINALITY AS g(user_id, at, direction, line, number)
),
-- The logs that run, and how many lines of the batch they have room for.
counted AS (
    UPDATE protocol_logs l SET lines = least(l.lines + b.count, :most)
    FROM (
        SELECT o.user_id, :most - o.lines AS room, g.count FROM protocol_logs o
        JOIN (SELECT user_id, count(*)::integer AS count FROM entries GROUP BY user_id) g USING (user_id)
    ) b
    WHERE l.user_id = b.user_id AND l.ends_at > now() AND l.lines < :most
    RETURNING l.user_id, b.room
)
INSERT INTO protocol_log_lines (user_id, at, direction, line)
SELECT g.user_id, to_timestamp(g.at), g.direction, g.line
FROM entries g JOIN counted c ON c.user_id = g.user_id WHERE g.place <= c.room ORDER BY g.number;
