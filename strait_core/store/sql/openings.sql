-- Execution windows of jobs: the interval in which their runs may start.

-- name: set_opening
-- A job with a window has a lane of its own, so that its runs are in nobody's way while it is closed.
UPDATE strait.jobs SET open_from = %(open_from)s, open_until = %(open_until)s, window_due_at = %(due_at)s,
    lane = CASE WHEN %(open_from)s::timestamptz IS NULL THEN lane ELSE own_lane END
WHERE id = %(id)s

-- name: take_due_openings
SELECT id, definition FROM strait.jobs WHERE window_due_at <= %(now)s AND deleted_at IS NULL
ORDER BY window_due_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED

-- name: next_opening_due
-- When an interval has to be looked at, or begins.
SELECT min(at) FROM (
    SELECT min(window_due_at) AS at FROM strait.jobs WHERE window_due_at IS NOT NULL
    UNION ALL
    SELECT min(open_from) FROM strait.jobs WHERE window_due_at IS NOT NULL AND open_from > %(now)s
) times
