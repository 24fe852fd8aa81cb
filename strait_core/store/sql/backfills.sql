-- Backfills: planned whole, made a few runs at a time. Who makes runs holds the row of the backfill, so nobody else
-- counts its active runs meanwhile.

-- name: fired_ticks
-- Ticks of a schedule in an interval that have made a run.
SELECT fire_at FROM strait.schedule_fires
WHERE schedule_id = %(schedule_id)s AND fire_at >= %(from_at)s AND fire_at < %(to_at)s AND run_id IS NOT NULL

-- name: backfilled_ticks
SELECT fire_at FROM strait.backfill_fires
WHERE schedule_id = %(schedule_id)s AND fire_at >= %(from_at)s AND fire_at < %(to_at)s

-- name: insert_backfill
INSERT INTO strait.backfills (id, schedule_id, from_at, to_at, max_concurrency, fires, made, completed, unsuccessful,
    created_at, due_at, stopped)
VALUES (%(id)s, %(schedule_id)s, %(from_at)s, %(to_at)s, %(max_concurrency)s, %(fires)s, 0, 0, 0, %(now)s, %(now)s, false)
RETURNING *

-- name: insert_fires
INSERT INTO strait.backfill_fires (schedule_id, fire_at, backfill_id)
SELECT %(schedule_id)s, at, %(id)s FROM unnest(%(ticks)s::timestamptz[]) AS t(at)

-- name: newest_backfill
SELECT * FROM strait.backfills WHERE schedule_id = %(schedule_id)s ORDER BY id DESC LIMIT 1

-- name: take_due
-- One backfill to look at, the longest due first; one that another process looks at is left to it.
SELECT b.*, o.kind, o.id AS owner_id, o.version, o.definition
FROM strait.backfills b LEFT JOIN strait.schedules s ON s.id = b.schedule_id
LEFT JOIN strait.schedule_owners o ON o.id = s.target_id AND o.deleted_at IS NULL
WHERE b.due_at <= %(now)s ORDER BY b.due_at LIMIT 1 FOR UPDATE OF b SKIP LOCKED

-- name: hold_open
SELECT * FROM strait.backfills WHERE schedule_id = %(schedule_id)s AND ended_at IS NULL FOR UPDATE

-- name: settle_fires
-- Runs that are over by now, and how they ended; one that is no longer kept has ended long ago.
WITH over AS MATERIALIZED (
    SELECT f.schedule_id, f.fire_at, coalesce((SELECT h.status FROM strait.run_history h
        WHERE h.id = f.run_id AND h.finished_at >= f.made_at - interval '1 day' LIMIT 1),
        (SELECT w.status FROM strait.workflow_run_history w
        WHERE w.id = f.run_id AND w.finished_at >= f.made_at - interval '1 day' LIMIT 1)) AS status
    FROM strait.backfill_fires f
    WHERE f.backfill_id = %(id)s AND f.run_id IS NOT NULL AND f.outcome IS NULL
        AND NOT EXISTS (SELECT FROM strait.runs r WHERE r.id = f.run_id)
        AND NOT EXISTS (SELECT FROM strait.workflow_runs w WHERE w.id = f.run_id)
)
UPDATE strait.backfill_fires f SET outcome = coalesce(o.status, 'gone') FROM over o
WHERE f.schedule_id = o.schedule_id AND f.fire_at = o.fire_at
RETURNING f.outcome

-- name: next_ticks
SELECT fire_at FROM strait.backfill_fires
WHERE backfill_id = %(id)s AND outcome IS NULL AND run_id IS NULL ORDER BY fire_at LIMIT %(limit)s

-- name: note_made
UPDATE strait.backfill_fires f SET run_id = b.run_id, made_at = %(now)s
FROM jsonb_to_recordset(%(batch)s::jsonb) AS b(fire_at timestamptz, run_id uuid)
WHERE f.schedule_id = %(schedule_id)s AND f.fire_at = b.fire_at

-- name: advance
UPDATE strait.backfills SET made = made + %(made)s, completed = completed + %(completed)s,
    unsuccessful = unsuccessful + %(unsuccessful)s, due_at = %(due_at)s, ended_at = %(ended_at)s
WHERE id = %(id)s

-- name: stop
-- Nothing more is made; what has been made goes on, and what has not may be asked for again.
UPDATE strait.backfills SET fires = made, stopped = true, due_at = NULL, ended_at = %(now)s WHERE id = %(id)s

-- name: drop_unmade
DELETE FROM strait.backfill_fires WHERE backfill_id = %(id)s AND outcome IS NULL AND run_id IS NULL

-- name: forget_fires
DELETE FROM strait.backfill_fires WHERE (schedule_id, fire_at) IN (
    SELECT f.schedule_id, f.fire_at FROM strait.backfills b JOIN strait.backfill_fires f ON f.backfill_id = b.id
    WHERE b.ended_at < %(before)s AND f.schedule_id = b.schedule_id LIMIT %(limit)s)

-- name: forget_backfills
DELETE FROM strait.backfills b WHERE b.ended_at < %(before)s
    AND NOT EXISTS (SELECT FROM strait.backfill_fires f WHERE f.schedule_id = b.schedule_id AND f.backfill_id = b.id)
