-- Statements of room.py.

-- name: take_room$
-- What is left of a quota after :wanted more. No row if too little is left, or it was counted for another quota.
UPDATE partner_usage u SET room = u.room - :wanted
WHERE u.partner_id = :partner_id AND u.quota = :quota AND u.room >= :wanted
  AND u.maximum = coalesce((SELECT q.maximum FROM partner_quotas q
                            WHERE q.partner_id = :partner_id AND q.quota = :quota), :standard)
RETURNING u.room;

-- name: maximum_in_force$
SELECT coalesce((SELECT maximum FROM partner_quotas WHERE partner_id = :partner_id AND quota = :quota), :standard);

-- name: lock_room^
-- Locks the row, which the first use makes.
INSERT INTO partner_usage AS u (partner_id, quota, maximum, room) VALUES (:partner_id, :quota, 0, 0)
ON CONFLICT (partner_id, quota) DO UPDATE SET room = u.room
RETURNING u.maximum, u.room;

-- name: count_live_users$
-- Users that are not archived, or only the connected ones of them.
SELECT count(*) FROM users
WHERE partner_id = :partner_id AND NOT archived AND (connected_at IS NOT NULL OR NOT :is_connected);

-- name: set_room!
UPDATE partner_usage SET maximum = :maximum, room = :room WHERE partner_id = :partner_id AND quota = :quota;

-- name: give_back_room!
UPDATE partner_usage SET room = room + :count WHERE partner_id = :partner_id AND quota = :quota;
