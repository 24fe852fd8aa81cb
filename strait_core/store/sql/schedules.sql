-- Schedules and their ticks. A tick locks its schedule, so whatever changes a schedule waits for the tick, and the tick
-- passes over a schedule that is being changed. `due_at` is null while a schedule does not fire.

-- name: take_due
-- Schedules of one kind to look at, the longest due first; those that another process looks at are left to it.
WITH picked AS MATERIALIZED (
    SELECT s.id, s.next_fire_at, s.held_fire_at, s.due_at, s.target_id, s.calendar_id FROM strait.schedules s
    WHERE s.kind = %(kind)s AND s.due_at > %(after)s AND s.due_at <= %(now)s
    ORDER BY s.due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
SELECT p.id, p.next_fire_at, p.held_fire_at, p.due_at, o.kind, o.id, o.version, o.definition, c.definition,
    EXISTS (SELECT FROM strait.budgets b WHERE b.project_id = o.project_id)
FROM picked p JOIN strait.schedule_owners o ON o.id = p.target_id
LEFT JOIN strait.calendars c ON c.id = p.calendar_id AND c.id = ANY(ARRAY(SELECT calendar_id FROM picked))
WHERE o.id = ANY(ARRAY(SELECT target_id FROM picked)) ORDER BY p.due_at

-- name: take_one
-- One schedule to look at. Nothing comes back when it is not due, or another process looks at it.
SELECT s.id, s.next_fire_at, s.held_fire_at, s.due_at, o.kind, o.id, o.version, o.definition, c.definition,
    EXISTS (SELECT FROM strait.budgets b WHERE b.project_id = o.project_id)
FROM strait.schedules s JOIN strait.schedule_owners o ON o.id = s.target_id
LEFT JOIN strait.calendars c ON c.id = s.calendar_id
WHERE s.id = %(id)s AND s.due_at <= %(now)s FOR UPDATE OF s SKIP LOCKED

-- name: put_off
-- Those that nobody holds.
UPDATE strait.schedules SET due_at = %(until)s WHERE id = ANY(ARRAY(
    SELECT id FROM strait.schedules WHERE id = ANY(%(ids)s) AND due_at IS NOT NULL FOR UPDATE SKIP LOCKED))

-- name: next_due
SELECT (SELECT min(due_at) FROM strait.schedules WHERE kind = %(kind)s AND due_at IS NOT NULL),
    (SELECT min(due_at) FROM strait.schedules WHERE kind = %(kind)s AND due_at > %(after)s)

-- name: active_ticks
-- Runs that ticks of these jobs have made and that are not over, the oldest of each job first. Those of backfills keep to
-- a bound of their own and are in no tick's way.
SELECT job_id AS owner_id, id FROM strait.runs
WHERE job_id = ANY(%(owners)s) AND fire_at IS NOT NULL AND triggered_by <> 'backfill'
ORDER BY job_id, id

-- name: active_flows
-- The same of workflows; of those in `every`, which mind whatever run there is, the oldest one of all. What is undone is
-- not running any more.
SELECT workflow_id AS owner_id, id FROM strait.workflow_runs
WHERE workflow_id = ANY(%(owners)s) AND fire_at IS NOT NULL AND triggered_by <> 'backfill' AND status <> 'compensating'
UNION
SELECT r.workflow_id, r.id FROM unnest(%(every)s::uuid[]) AS e(id) CROSS JOIN LATERAL (
    SELECT workflow_id, id FROM strait.workflow_runs WHERE workflow_id = e.id AND status <> 'compensating'
    ORDER BY id LIMIT 1
) r ORDER BY 2

-- name: note_fires
INSERT INTO strait.schedule_fires (schedule_id, fire_at, decided_at, triggered_by, run_id, skipped, ticks, first_fire_at, keep)
SELECT schedule_id, fire_at, %(now)s, triggered_by, run_id, skipped, ticks, first_fire_at, 'long'
FROM jsonb_to_recordset(%(batch)s::jsonb) AS b(
    schedule_id uuid, fire_at timestamptz, triggered_by text, run_id uuid, skipped text, ticks integer,
    first_fire_at timestamptz)

-- name: recorded
SELECT fire_at FROM strait.schedule_fires WHERE schedule_id = %(id)s AND fire_at = ANY(%(ticks)s::timestamptz[])

-- name: advance
WITH batch AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(batch)s::jsonb) AS b(
        id uuid, next_fire_at timestamptz, held_fire_at timestamptz, due_at timestamptz)
)
UPDATE strait.schedules s SET next_fire_at = b.next_fire_at, held_fire_at = b.held_fire_at, due_at = b.due_at
FROM batch b WHERE s.id = ANY(ARRAY(SELECT id FROM batch)) AND s.id = b.id

-- name: put_schedule
-- The schedule of a job or a workflow: a new one, or the one there is at its next tick.
INSERT INTO strait.schedules (id, kind, target_id, next_fire_at, due_at, calendar_id, paused, created_at, updated_at)
VALUES (%(id)s, %(kind)s, %(owner_id)s, %(next_fire_at)s, %(due_at)s, %(calendar_id)s, false, %(now)s, %(now)s)
ON CONFLICT (target_id) DO UPDATE SET next_fire_at = excluded.next_fire_at, due_at = excluded.due_at,
    calendar_id = excluded.calendar_id, updated_at = excluded.updated_at
RETURNING id

-- name: drop_schedule
DELETE FROM strait.schedules WHERE target_id = %(owner_id)s

-- name: lock_schedule
SELECT s.*, c.definition AS calendar
FROM strait.schedules s LEFT JOIN strait.calendars c ON c.id = s.calendar_id
WHERE s.target_id = %(owner_id)s FOR UPDATE OF s

-- name: set_paused
UPDATE strait.schedules SET paused = %(paused)s, paused_at = %(paused_at)s, pause_reason = %(reason)s,
    next_fire_at = %(next_fire_at)s, due_at = %(due_at)s, updated_at = %(now)s
WHERE id = %(id)s

-- name: schedule_by_id
SELECT s.*, o.definition, o.enabled, o.paused AS owner_paused, o.version, f.fire_at AS last_fire_at,
    f.run_id AS last_run_id, c.definition AS calendar, d.since AS expected_since, b.last_breach
FROM strait.schedules s JOIN strait.schedule_owners o ON o.id = s.target_id
LEFT JOIN strait.calendars c ON c.id = s.calendar_id
LEFT JOIN strait.deadlines d ON d.schedule_id = s.id AND d.deadline = 'expect_every_secs' LEFT JOIN LATERAL (
    SELECT fire_at, run_id FROM strait.schedule_fires WHERE schedule_id = s.id AND run_id IS NOT NULL
    ORDER BY fire_at DESC LIMIT 1
) f ON true LEFT JOIN LATERAL (
    SELECT to_jsonb(n) AS last_breach FROM (
        SELECT id, deadline, since, limit_at, found_at, run_id FROM strait.breaches WHERE schedule_id = s.id
        ORDER BY id DESC LIMIT 1
    ) n
) b ON true
WHERE s.id = %(id)s AND (%(project)s::text IS NULL OR o.project_id = %(project)s)

-- name: schedules_of
-- The schedules of these jobs and workflows.
SELECT s.*, o.definition, o.enabled, o.paused AS owner_paused, o.version, f.fire_at AS last_fire_at,
    f.run_id AS last_run_id, c.definition AS calendar, d.since AS expected_since, b.last_breach
FROM strait.schedules s JOIN strait.schedule_owners o ON o.id = s.target_id
LEFT JOIN strait.calendars c ON c.id = s.calendar_id
LEFT JOIN strait.deadlines d ON d.schedule_id = s.id AND d.deadline = 'expect_every_secs' LEFT JOIN LATERAL (
    SELECT fire_at, run_id FROM strait.schedule_fires WHERE schedule_id = s.id AND run_id IS NOT NULL
    ORDER BY fire_at DESC LIMIT 1
) f ON true LEFT JOIN LATERAL (
    SELECT to_jsonb(n) AS last_breach FROM (
        SELECT id, deadline, since, limit_at, found_at, run_id FROM strait.breaches WHERE schedule_id = s.id
        ORDER BY id DESC LIMIT 1
    ) n
) b ON true
WHERE s.target_id = ANY(%(owners)s) ORDER BY o.project_id, o.kind

-- name: owners_named
-- The jobs and workflows of this slug.
SELECT id FROM strait.schedule_owners
WHERE slug = %(slug)s AND deleted_at IS NULL AND (%(project)s::text IS NULL OR project_id = %(project)s) LIMIT 20

-- name: schedules
SELECT s.*, o.definition, o.enabled, o.paused AS owner_paused, o.version, f.fire_at AS last_fire_at,
    f.run_id AS last_run_id, c.definition AS calendar, d.since AS expected_since, b.last_breach
FROM strait.schedules s JOIN strait.schedule_owners o ON o.id = s.target_id
LEFT JOIN strait.calendars c ON c.id = s.calendar_id
LEFT JOIN strait.deadlines d ON d.schedule_id = s.id AND d.deadline = 'expect_every_secs' LEFT JOIN LATERAL (
    SELECT fire_at, run_id FROM strait.schedule_fires WHERE schedule_id = s.id AND run_id IS NOT NULL
    ORDER BY fire_at DESC LIMIT 1
) f ON true LEFT JOIN LATERAL (
    SELECT to_jsonb(n) AS last_breach FROM (
        SELECT id, deadline, since, limit_at, found_at, run_id FROM strait.breaches WHERE schedule_id = s.id
        ORDER BY id DESC LIMIT 1
    ) n
) b ON true
WHERE (%(project)s::text IS NULL OR o.project_id = %(project)s)
    AND (%(paused)s::boolean IS NULL OR s.paused = %(paused)s)
    AND (%(before)s::uuid IS NULL OR s.id < %(before)s)
    AND (%(low)s::uuid IS NULL OR s.id BETWEEN %(low)s AND %(high)s)
ORDER BY s.id DESC LIMIT %(limit)s

-- name: fires
-- What the ticks of a schedule came to, the newest first; a tick that was fired again has its backfill's run before.
SELECT * FROM (
    (SELECT f.fire_at, f.decided_at, f.triggered_by, f.run_id, f.skipped, f.ticks, f.first_fire_at, ARRAY(
            SELECT b.deadline FROM strait.breaches b WHERE b.schedule_id = f.schedule_id AND b.since = f.fire_at
                AND b.deadline <> 'expect_every_secs' ORDER BY b.limit_at) AS breaches, 0 AS again
    FROM strait.schedule_fires f
    WHERE f.schedule_id = %(id)s AND (%(before)s::timestamptz IS NULL OR f.fire_at < %(before)s)
        AND (%(skipped)s::boolean IS NULL OR (f.skipped IS NOT NULL) = %(skipped)s)
    ORDER BY f.fire_at DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT fire_at, made_at, 'backfill', run_id, NULL, 1, fire_at, '{}', 1 FROM strait.backfill_fires
    WHERE schedule_id = %(id)s AND run_id IS NOT NULL AND %(skipped)s IS NOT TRUE
        AND (%(again_before)s::timestamptz IS NULL OR fire_at < %(again_before)s)
    ORDER BY fire_at DESC LIMIT %(limit)s)
) every ORDER BY fire_at DESC, again DESC LIMIT %(limit)s
