-- Deadlines of schedules: watched from the tick or the last success on, broken at most once.

-- name: watch
-- Deadlines of ticks, in the transaction that decides them.
INSERT INTO strait.deadlines (schedule_id, deadline, since, due_at)
SELECT schedule_id, deadline, since, due_at FROM jsonb_to_recordset(%(batch)s::jsonb) AS b(
    schedule_id uuid, deadline text, since timestamptz, due_at timestamptz)
ON CONFLICT DO NOTHING

-- name: expect
-- From now on the schedule is expected to succeed. One that was before goes on counting from where it stood, and is
-- looked at at once: its limit may have moved.
INSERT INTO strait.deadlines (schedule_id, deadline, since, due_at)
VALUES (%(schedule_id)s, 'expect_every_secs', %(since)s, %(due_at)s)
ON CONFLICT (schedule_id) WHERE deadline = 'expect_every_secs' DO UPDATE SET due_at = excluded.since

-- name: expect_nothing
DELETE FROM strait.deadlines WHERE schedule_id = %(schedule_id)s AND deadline = 'expect_every_secs'

-- name: note_successes
-- Runs of these jobs and workflows have completed. In the order of their ids, as everywhere, so that two batches do not wait for each other.
WITH succeeded AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(batch)s::jsonb) AS b(owner_id uuid, at timestamptz)
), held AS MATERIALIZED (
    SELECT d.schedule_id, b.at FROM succeeded b JOIN strait.schedules s ON s.target_id = b.owner_id
    JOIN strait.deadlines d ON d.schedule_id = s.id AND d.deadline = 'expect_every_secs'
    WHERE s.target_id = ANY(ARRAY(SELECT owner_id FROM succeeded)) AND d.since < b.at
    ORDER BY s.target_id FOR UPDATE OF d
)
UPDATE strait.deadlines d SET since = h.at FROM held h
WHERE d.schedule_id = h.schedule_id AND d.deadline = 'expect_every_secs' AND d.since < h.at

-- name: take_due
-- Deadlines to look at, those that have been due the longest first, with what there is to judge them by; those that
-- another process looks at are left to it.
SELECT d.schedule_id, d.deadline, d.since, d.due_at, s.paused, s.held_fire_at, o.kind, o.id AS owner_id, o.project_id,
    o.slug, o.enabled AND NOT o.paused AND o.deleted_at IS NULL AS takes_runs, o.version, o.definition, c.definition AS calendar,
    f.run_id
FROM strait.deadlines d LEFT JOIN strait.schedules s ON s.id = d.schedule_id
LEFT JOIN strait.schedule_owners o ON o.id = s.target_id LEFT JOIN strait.calendars c ON c.id = s.calendar_id
LEFT JOIN strait.schedule_fires f ON f.schedule_id = d.schedule_id AND f.fire_at = d.since AND f.keep = 'long'
    AND d.deadline <> 'expect_every_secs'
WHERE d.due_at <= %(now)s ORDER BY d.due_at LIMIT %(limit)s FOR UPDATE OF d SKIP LOCKED

-- name: moments
-- When each of these runs first started and first ended, whatever became of it later by retries and replays; of a
-- workflow run that was retried the last end counts. One that is no longer kept has no row.
SELECT u.id, coalesce(least(r.started_at, h.started_at, a.started_at), w.started_at) AS started_at,
    coalesce(least(h.finished_at, a.finished_at, e.finished_at), w.finished_at) AS finished_at
FROM unnest(%(ids)s::uuid[]) AS u(id)
LEFT JOIN strait.runs r ON r.id = u.id
LEFT JOIN LATERAL (SELECT * FROM strait.run_history h
    WHERE h.id = u.id AND h.finished_at >= %(made_at)s LIMIT 1) h ON true
LEFT JOIN LATERAL (
    SELECT min(started_at) AS started_at, min(finished_at) FILTER (WHERE outcome = ANY(%(terminal)s)) AS finished_at
    FROM strait.attempts WHERE run_id = u.id AND finished_at >= %(made_at)s) a ON true
LEFT JOIN LATERAL (SELECT min(at) AS finished_at FROM strait.run_events
    WHERE run_id = u.id AND at >= %(made_at)s AND status = ANY(%(terminal)s)) e ON true
LEFT JOIN LATERAL (SELECT id, started_at, finished_at FROM strait.all_workflow_runs w
    WHERE w.id = u.id AND (w.finished_at IS NULL OR w.finished_at >= %(made_at)s) LIMIT 1) w ON true
WHERE r.id IS NOT NULL OR h.id IS NOT NULL OR w.id IS NOT NULL

-- name: forget
DELETE FROM strait.deadlines d USING jsonb_to_recordset(%(batch)s::jsonb) AS b(schedule_id uuid, deadline text, since timestamptz)
WHERE d.schedule_id = b.schedule_id AND d.deadline = b.deadline AND d.since = b.since

-- name: move_on
UPDATE strait.deadlines d SET since = b.new_since, due_at = b.due_at
FROM jsonb_to_recordset(%(batch)s::jsonb) AS b(
    schedule_id uuid, deadline text, since timestamptz, new_since timestamptz, due_at timestamptz)
WHERE d.schedule_id = b.schedule_id AND d.deadline = b.deadline AND d.since = b.since

-- name: record
-- Breaches that nobody has recorded before; their ids.
INSERT INTO strait.breaches (id, schedule_id, project_id, deadline, since, limit_at, found_at, run_id)
SELECT id, schedule_id, project_id, deadline, since, limit_at, %(now)s, run_id
FROM jsonb_to_recordset(%(batch)s::jsonb) AS b(
    id uuid, schedule_id uuid, project_id text, deadline text, since timestamptz, limit_at timestamptz, run_id uuid)
ON CONFLICT DO NOTHING RETURNING id

-- name: breaches
-- The breaches of a schedule, the newest first.
SELECT id, deadline, since, limit_at, found_at, run_id FROM strait.breaches
WHERE schedule_id = %(schedule_id)s AND (%(before)s::uuid IS NULL OR id < %(before)s) ORDER BY id DESC LIMIT %(limit)s

-- name: breaches_of_run
-- What the tick of a run has broken.
SELECT b.deadline, b.since, b.limit_at FROM strait.schedules s JOIN strait.breaches b ON b.schedule_id = s.id
WHERE s.target_id = %(owner_id)s AND b.since = %(fire_at)s AND b.deadline <> 'expect_every_secs' ORDER BY b.limit_at

-- name: late
-- Breaches found since an instant, by deadline; no more than `most` are looked at.
SELECT deadline, count(*) FROM (
    SELECT deadline FROM strait.breaches
    WHERE found_at >= %(since)s AND (%(project)s::text IS NULL OR project_id = %(project)s)
    ORDER BY found_at DESC LIMIT %(most)s
) newest GROUP BY 1

-- name: forget_breaches
DELETE FROM strait.breaches WHERE id IN (
    SELECT id FROM strait.breaches WHERE found_at < %(before)s ORDER BY found_at LIMIT %(limit)s)
