-- What runs wait for. Locks are taken in this order: a run, then an event, then waits. Who comes to a run from a wait
-- takes it only if it is free; a run that was not is looked at again within a second.

-- name: mark_waits
-- The live attempt is about to record a wait; from here on its ending asks the waits.
UPDATE strait.runs SET waits = true WHERE id = %(run_id)s AND status = 'executing' AND attempt = %(attempt)s
RETURNING project_id

-- name: mark_awaited
UPDATE strait.runs SET awaited = true WHERE id = %(child_id)s RETURNING id

-- name: parent
-- What a live attempt passes on to the runs that it makes.
SELECT project_id, job_id, lineage_depth, payload FROM strait.runs
WHERE id = %(run_id)s AND status = 'executing' AND attempt = %(attempt)s

-- name: hold_parent
-- A cancel of the run has to wait until its child is stored.
SELECT project_id FROM strait.runs WHERE id = %(run_id)s AND status = 'executing' AND attempt = %(attempt)s
FOR KEY SHARE

-- name: would_wait_for_itself
WITH RECURSIVE awaited AS (
    SELECT %(child_id)s::uuid AS id
    UNION SELECT w.child_id FROM awaited a JOIN strait.waits w ON w.run_id = a.id
    WHERE w.outcome IS NULL AND w.child_id IS NOT NULL
)
SELECT id FROM awaited WHERE id = %(run_id)s

-- name: ended_as
SELECT status FROM strait.run_history WHERE id = %(id)s AND finished_at >= %(made_at)s

-- name: count_of_run
SELECT count(*) FROM strait.waits WHERE run_id = %(run_id)s

-- name: find_event_wait
SELECT w.id, w.attempt, w.event_id, w.child_id, w.created_at, w.due_at, w.outcome, w.settled_at, e.key AS event_key,
    e.payload AS payload
FROM strait.waits w JOIN strait.events e ON e.id = w.event_id
WHERE w.run_id = %(run_id)s AND e.key = %(key)s ORDER BY w.id DESC LIMIT 1

-- name: find_child_wait
SELECT w.id FROM strait.waits w WHERE w.run_id = %(run_id)s AND w.child_id = %(child_id)s

-- name: insert_wait
INSERT INTO strait.waits (id, run_id, attempt, event_id, child_id, created_at, due_at, outcome, settled_at, ripe)
VALUES (%(id)s, %(run_id)s, %(attempt)s, %(event_id)s, %(child_id)s, %(now)s, %(due_at)s, %(outcome)s,
    CASE WHEN %(outcome)s::text IS NOT NULL THEN %(now)s::timestamptz END, false)

-- name: settle_event
UPDATE strait.waits SET outcome = %(outcome)s, settled_at = %(now)s, ripe = true
WHERE event_id = %(event_id)s AND outcome IS NULL

-- name: settle_children
UPDATE strait.waits w SET outcome = c.outcome, settled_at = %(now)s, ripe = true
FROM unnest(%(ids)s::uuid[], %(outcomes)s::text[]) AS c(id, outcome)
WHERE w.child_id = ANY(%(ids)s) AND w.child_id = c.id AND w.outcome IS NULL

-- name: drop_waits
DELETE FROM strait.waits WHERE run_id = ANY(%(ids)s)

-- name: drop_recorded
-- What the attempts that have just failed had recorded.
DELETE FROM strait.waits w USING strait.runs r
WHERE w.run_id = ANY(%(ids)s) AND r.id = ANY(%(ids)s) AND r.id = w.run_id AND w.attempt = r.attempt

-- name: lock_ripe
-- Runs that have a wait which nobody has looked at since it was settled, as far as they are free.
SELECT r.id FROM strait.runs r
WHERE r.id = ANY(ARRAY(SELECT DISTINCT run_id FROM (
    SELECT run_id FROM strait.waits WHERE ripe ORDER BY run_id LIMIT %(limit)s) oldest))
FOR UPDATE SKIP LOCKED

-- name: look_at_ripe
UPDATE strait.waits SET ripe = false WHERE run_id = ANY(%(ids)s) AND ripe

-- name: recorded
-- What the present attempts of these runs have recorded, or what a waiting run waits for.
SELECT w.run_id, w.id, w.attempt, w.event_id, w.child_id, w.created_at, w.due_at, w.outcome, w.settled_at,
    e.key AS event_key
FROM strait.waits w JOIN strait.runs r ON r.id = w.run_id AND r.attempt = w.attempt
LEFT JOIN strait.events e ON e.id = w.event_id
WHERE w.run_id = ANY(%(ids)s) AND r.id = ANY(%(ids)s) ORDER BY w.run_id, w.id

-- name: resume_waiting
-- waiting → queued for runs that wait for nothing any more.
WITH batch AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(batch)b::jsonb) AS b(id uuid, reason text)
), resumed AS (
    UPDATE strait.runs r SET status = 'queued', seq = r.seq + 1, ready_seq = nextval('strait.ready_seqs'),
        ready_at = %(now)s
    FROM batch b
    WHERE NOT EXISTS (SELECT FROM strait.waits w WHERE w.run_id = r.id AND w.outcome IS NULL)
        AND r.id = ANY(ARRAY(SELECT id FROM batch)) AND r.id = b.id AND r.status = 'waiting'
    RETURNING r.id, r.job_id, r.project_id, r.seq, r.attempt, r.priority, r.ready_seq, b.reason
), readied AS (
    INSERT INTO strait.ready (lane, priority, ready_seq, run_id, job_id, ready_at)
    SELECT j.lane, q.priority, q.ready_seq, q.id, q.job_id, %(now)s
    FROM resumed q JOIN strait.jobs j ON j.id = q.job_id WHERE j.id = ANY(ARRAY(SELECT job_id FROM resumed))
), noted AS (
    INSERT INTO strait.run_events (run_id, seq, event, status, attempt, at, reason, keep)
    SELECT id, seq, 'resume', 'queued', attempt, %(now)s, reason, 'long' FROM resumed
), counted AS (
    INSERT INTO strait.stats_deltas (at, moves, ids, owners, seqs, attempts, statuses)
    SELECT %(now)s::timestamptz, m.moves, c.* FROM (
        SELECT jsonb_agg(jsonb_build_array(project_id, job_id, 'waiting', 'queued', n)) AS moves
        FROM (SELECT project_id, job_id, count(*) AS n FROM resumed GROUP BY 1, 2) g
    ) m, (
        SELECT array_agg(id), array_agg(job_id), array_agg(seq), array_agg(attempt), ARRAY['queued'] FROM resumed
    ) c
    WHERE m.moves IS NOT NULL
)
SELECT id FROM resumed

-- name: waits_of_run
-- With what came of each: the event's payload, or what the other run has left.
SELECT w.id, w.attempt, w.event_id, w.child_id, w.created_at, w.due_at, w.outcome, w.settled_at, e.key AS event_key,
    CASE WHEN w.outcome = 'received' THEN e.payload END AS payload,
    h.result, h.error
FROM strait.waits w LEFT JOIN strait.events e ON e.id = w.event_id
LEFT JOIN LATERAL (
    SELECT result, error FROM strait.run_history h
    WHERE w.outcome IS NOT NULL AND h.id = w.child_id AND h.finished_at >= %(made_at)s
    ORDER BY h.finished_at DESC LIMIT 1
) h ON true
WHERE w.run_id = %(run_id)s AND (%(after)s::uuid IS NULL OR w.id > %(after)s) ORDER BY w.id LIMIT %(limit)s
