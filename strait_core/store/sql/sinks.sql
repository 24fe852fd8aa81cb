-- Where changes are sent on to, and how far each has got.

-- name: make
-- One that is new begins behind everything.
INSERT INTO strait.change_sinks (name, position, entry, fails, is_refused)
SELECT %(name)s, coalesce(max(position), (SELECT position FROM strait.change_floor)), 2147483647, 0, false
FROM strait.changes
ON CONFLICT DO NOTHING

-- name: hold_if_free
-- Held until a time, unless another holds it or it is not to be tried yet.
UPDATE strait.change_sinks SET held_by = %(by)s, held_until = %(until)s
WHERE name = %(name)s AND (held_by IS NULL OR held_by = %(by)s OR held_until <= %(now)s)
    AND (due_at IS NULL OR due_at <= %(now)s)
RETURNING position, entry, fails, lost_at

-- name: move_if_held
UPDATE strait.change_sinks SET position = %(position)s, entry = %(entry)s, held_until = %(until)s, moved_at = %(now)s,
    fails = 0, due_at = NULL, failing_since = NULL, is_refused = false, error = NULL, lost_at = NULL
WHERE name = %(name)s AND held_by = %(by)s

-- name: skip_if_held
UPDATE strait.change_sinks SET position = %(position)s, entry = %(entry)s, lost_at = coalesce(lost_at, %(now)s)
WHERE name = %(name)s AND held_by = %(by)s

-- name: put_off_if_held
UPDATE strait.change_sinks SET held_by = NULL, held_until = NULL, fails = fails + 1, due_at = %(due)s,
    failing_since = coalesce(failing_since, %(now)s), is_refused = %(is_refused)s, error = %(error)s
WHERE name = %(name)s AND held_by = %(by)s

-- name: let_go
UPDATE strait.change_sinks SET held_by = NULL, held_until = NULL WHERE name = %(name)s AND held_by = %(by)s

-- name: standing
-- How each of these stands; when the first change was made that it has not been sent.
SELECT s.name, s.moved_at, s.failing_since, s.is_refused, s.error, s.lost_at, (
    SELECT c.at FROM strait.changes c
    WHERE c.position >= s.position AND (c.position > s.position OR cardinality(c.ids) > s.entry)
    ORDER BY c.position LIMIT 1)
FROM strait.change_sinks s WHERE s.name = ANY(%(names)s) ORDER BY s.name
