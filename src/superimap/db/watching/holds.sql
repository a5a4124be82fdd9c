-- Statements of holds.py.

-- name: list_held
SELECT DISTINCT partner_id FROM partner_usage WHERE held_since IS NOT NULL;
