-- Workflow runs. Locks are taken in this order: the outermost run of a tree (several: in id order), the workflow, then
-- what the steps touch (entries of the ready order, runs, events, lanes).

-- name: hold
-- Holds the outermost runs of these runs' trees, in the order of their ids.
SELECT id FROM strait.workflow_runs
WHERE id = ANY(ARRAY(SELECT root_id FROM strait.workflow_runs WHERE id = ANY(%(ids)s))) ORDER BY id FOR UPDATE

-- name: hold_free
-- The same for those that nobody holds.
SELECT id FROM strait.workflow_runs
WHERE id = ANY(ARRAY(SELECT root_id FROM strait.workflow_runs WHERE id = ANY(%(ids)s))) ORDER BY id
FOR UPDATE SKIP LOCKED

-- name: active_runs
-- Runs that are not over, where their steps are, and whom the open ones wait for. A statement of its own, so that it
-- sees what was done before the tree was held.
SELECT r.id, r.root_id, r.workflow_id, r.project_id, r.version, r.status, r.seq, r.disabled, r.has_failures, r.error_class, r.error,
    r.triggered_by, r.parent_run_id, r.parent_step, r.depth, r.lineage_depth, r.created_at, r.started_at, r.expires_at,
    CASE WHEN pg_column_size(r.payload) <= 4096 THEN r.payload END AS payload, s.*
FROM strait.workflow_runs r CROSS JOIN LATERAL (
    SELECT array_agg(step) AS steps, array_agg(status) AS statuses,
        array_agg(step) FILTER (WHERE reason = 'upstream' AND status = 'skipped') AS onward,
        array_agg(step) FILTER (WHERE status IN ('running', 'waiting')) AS open_steps,
        array_agg(coalesce(job_run_id, child_run_id, event_id)) FILTER (WHERE status IN ('running', 'waiting'))
            AS open_ids
    FROM strait.workflow_steps WHERE workflow_run_id = r.id
) s WHERE r.id = ANY(%(ids)s)

-- name: read_outputs
-- Outputs of steps; of none of them when they are too long together.
SELECT step, CASE WHEN total <= %(most)s THEN output END AS output, total > %(most)s AS is_too_much FROM (
    SELECT step, output, sum(octet_length(output)) OVER () AS total
    FROM strait.workflow_steps WHERE workflow_run_id = %(id)s AND step = ANY(%(steps)s)
) s

-- name: read_fault
SELECT error_class, error FROM strait.workflow_steps WHERE workflow_run_id = %(id)s AND step = %(step)s

-- name: read_payload
SELECT payload FROM strait.workflow_runs WHERE id = %(id)s

-- name: insert_run
WITH made AS (
    INSERT INTO strait.workflow_runs (id, root_id, workflow_id, project_id, version, status, seq, payload, tags, labels,
        disabled, has_failures, triggered_by, parent_run_id, parent_step, depth, created_at, started_at, expires_at,
        touched_at, fire_at, lineage_depth)
    VALUES (%(id)s, %(root_id)s, %(workflow_id)s, %(project_id)s, %(version)s, %(status)s, 1, %(payload)s, %(tags)s,
        %(labels)s, %(disabled)s::smallint[], false, %(triggered_by)s, %(parent_run_id)s, %(parent_step)s, %(depth)s,
        %(now)s, CASE WHEN %(status)s::text = 'running' THEN %(now)s::timestamptz END, %(expires_at)s, %(now)s,
        %(fire_at)s, %(lineage_depth)s)
    RETURNING *
), told AS (
    INSERT INTO strait.stats_deltas (at, moves, kind, project_id, ids, owners, seqs, statuses)
    SELECT %(now)s::timestamptz, '[]', 'workflow_run', project_id, ARRAY[id], ARRAY[workflow_id],
        ARRAY[seq], ARRAY[status] FROM made
)
SELECT * FROM made

-- name: put_steps
-- Where steps are now; what a move says nothing of stays as it is, unless the step begins anew.
WITH runs AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(batch)b::jsonb) AS b(workflow_run_id uuid, steps jsonb)
), batch AS MATERIALIZED (
    SELECT r.workflow_run_id, s.* FROM runs r CROSS JOIN LATERAL jsonb_to_recordset(r.steps) AS s(
        step smallint, status text, begins boolean, ends boolean, reason text, output text, error_class text,
        error text, job_run_id uuid, child_run_id uuid, event_id uuid, due_at timestamptz)
), put AS (
    INSERT INTO strait.workflow_steps AS s (workflow_run_id, step, status, attempt, reason, output, error_class, error,
        job_run_id, child_run_id, event_id, due_at, started_at, finished_at)
    SELECT workflow_run_id, step, status, CASE WHEN begins THEN 1 ELSE 0 END, reason, output, error_class, error, job_run_id,
        child_run_id, event_id, due_at, CASE WHEN begins THEN %(now)s::timestamptz END,
        CASE WHEN ends THEN %(now)s::timestamptz END
    FROM batch
    ON CONFLICT (workflow_run_id, step) DO UPDATE SET status = excluded.status,
        attempt = s.attempt + excluded.attempt,
        reason = excluded.reason, output = excluded.output, error_class = excluded.error_class, error = excluded.error,
        job_run_id = CASE WHEN excluded.attempt = 1 OR excluded.status = 'pending' THEN excluded.job_run_id
            ELSE coalesce(excluded.job_run_id, s.job_run_id) END,
        child_run_id = CASE WHEN excluded.attempt = 1 OR excluded.status = 'pending' THEN excluded.child_run_id
            ELSE coalesce(excluded.child_run_id, s.child_run_id) END,
        event_id = CASE WHEN excluded.attempt = 1 OR excluded.status = 'pending' THEN excluded.event_id
            ELSE coalesce(excluded.event_id, s.event_id) END,
        due_at = excluded.due_at,
        started_at = CASE WHEN excluded.status = 'pending' THEN NULL ELSE coalesce(excluded.started_at, s.started_at) END,
        finished_at = excluded.finished_at
    RETURNING 1
), moved AS (
    UPDATE strait.workflow_runs r SET seq = r.seq + 1, touched_at = %(now)s, has_failures = r.has_failures OR b.failed
    FROM (SELECT workflow_run_id, bool_or(status = 'failed' AND step >= 0) AS failed FROM batch GROUP BY 1) b
    WHERE r.id = ANY(ARRAY(SELECT workflow_run_id FROM runs)) AND r.id = b.workflow_run_id
    RETURNING r.id, r.workflow_id, r.project_id, r.seq, r.status
)
INSERT INTO strait.stats_deltas (at, moves, kind, project_id, ids, owners, seqs, statuses)
SELECT %(now)s::timestamptz, '[]', 'workflow_run', project_id, array_agg(id), array_agg(workflow_id), array_agg(seq),
    array_agg(status)
FROM moved GROUP BY project_id

-- name: move_run
WITH moved AS (
    UPDATE strait.workflow_runs SET status = %(status)s, seq = seq + 1, touched_at = %(now)s,
        started_at = CASE WHEN %(status)s::text = 'running' THEN coalesce(started_at, %(now)s) ELSE started_at END,
        error_class = coalesce(%(error_class)s::text, error_class), error = coalesce(%(error)s::text, error)
    WHERE id = %(id)s RETURNING id, workflow_id, project_id, seq, status
)
INSERT INTO strait.stats_deltas (at, moves, kind, project_id, ids, owners, seqs, statuses)
SELECT %(now)s::timestamptz, '[]', 'workflow_run', project_id, ARRAY[id], ARRAY[workflow_id],
        ARRAY[seq], ARRAY[status] FROM moved

-- name: end_run
-- A run that is over goes to the history, with its steps.
WITH ended AS (
    DELETE FROM strait.workflow_runs WHERE id = %(id)s RETURNING *
), kept AS (
    INSERT INTO strait.workflow_run_history (id, root_id, workflow_id, project_id, version, status, seq, payload, tags,
        labels, disabled, has_failures, error_class, error, triggered_by, parent_run_id, parent_step, depth, created_at,
        started_at, expires_at, finished_at, keep, fire_at,
        lineage_depth)
    SELECT id, root_id, workflow_id, project_id, version, %(status)s, seq + 1, payload, tags, labels, disabled,
        has_failures, coalesce(%(error_class)s::text, error_class), coalesce(%(error)s::text, error), triggered_by,
        parent_run_id, parent_step, depth, created_at, started_at, expires_at, %(now)s, %(keep)s, fire_at,
        lineage_depth
    FROM ended
), told AS (
    INSERT INTO strait.stats_deltas (at, moves, kind, project_id, ids, owners, seqs, statuses)
    SELECT %(now)s::timestamptz, '[]', 'workflow_run', project_id, ARRAY[id], ARRAY[workflow_id],
        ARRAY[seq + 1], ARRAY[%(status)s::text] FROM ended
), steps AS (
    DELETE FROM strait.workflow_steps WHERE workflow_run_id = %(id)s RETURNING *
)
INSERT INTO strait.workflow_step_history (workflow_run_id, step, status, attempt, reason, output, error_class, error,
    job_run_id, child_run_id, event_id, started_at, finished_at, ended_at, keep)
SELECT workflow_run_id, step, status, attempt, reason, output, error_class, error, job_run_id, child_run_id, event_id,
    started_at, finished_at, %(now)s, %(keep)s FROM steps

-- name: bring_back
-- A run that is over is under way again, with its steps; nothing comes back when somebody else was quicker.
WITH back AS (
    DELETE FROM strait.workflow_run_history
    WHERE id = %(id)s AND finished_at >= %(made_at)s AND status = ANY(%(from)s) RETURNING *
), stored AS (
    INSERT INTO strait.workflow_runs (id, root_id, workflow_id, project_id, version, status, seq, payload, tags, labels,
        disabled, has_failures, triggered_by, parent_run_id, parent_step, depth, created_at, started_at, expires_at,
        touched_at, fire_at, lineage_depth)
    SELECT id, root_id, workflow_id, project_id, version, %(status)s, seq + 1, payload, tags, labels, disabled, false,
        triggered_by, parent_run_id, parent_step, depth, created_at, coalesce(started_at, %(now)s), %(expires_at)s,
        %(now)s, fire_at, lineage_depth
    FROM back RETURNING *
), told AS (
    INSERT INTO strait.stats_deltas (at, moves, kind, project_id, ids, owners, seqs, statuses)
    SELECT %(now)s::timestamptz, '[]', 'workflow_run', project_id, ARRAY[id], ARRAY[workflow_id],
        ARRAY[seq], ARRAY[status] FROM stored
), steps AS (
    DELETE FROM strait.workflow_step_history h USING back b
    WHERE h.workflow_run_id = %(id)s AND h.ended_at = b.finished_at AND h.keep = b.keep RETURNING h.*
), placed AS (
    INSERT INTO strait.workflow_steps (workflow_run_id, step, status, attempt, reason, output, error_class, error,
        job_run_id, child_run_id, event_id, started_at, finished_at)
    SELECT workflow_run_id, step, status, attempt, reason, output, error_class, error, job_run_id, child_run_id,
        event_id, started_at, finished_at FROM steps
)
SELECT * FROM stored

-- name: get_run
SELECT r.*, w.slug AS workflow_slug FROM strait.all_workflow_runs r JOIN strait.workflows w ON w.id = r.workflow_id
WHERE r.id = %(id)s

-- name: steps_of_run
SELECT step, status, attempt, reason, output, error_class, error, job_run_id, child_run_id, event_id, due_at, started_at,
    finished_at
FROM strait.workflow_steps WHERE workflow_run_id = %(id)s
UNION ALL
SELECT step, status, attempt, reason, output, error_class, error, job_run_id, child_run_id, event_id, NULL, started_at,
    finished_at
FROM strait.workflow_step_history WHERE workflow_run_id = %(id)s AND ended_at >= %(made_at)s
ORDER BY 1

-- name: keys_of_events
SELECT id, key FROM strait.events WHERE id = ANY(%(ids)s)

-- name: trees_of_runs
-- Those of these runs that carry out steps, and of which workflow runs.
SELECT id, workflow_run_id FROM strait.runs WHERE id = ANY(%(ids)s) AND workflow_run_id IS NOT NULL

-- name: due_runs
-- Runs with a step that is due, or whose own time is over; what is due first comes first.
SELECT id FROM (
    (SELECT workflow_run_id AS id, due_at FROM strait.workflow_steps WHERE due_at <= %(now)s
        ORDER BY due_at LIMIT %(limit)s)
    UNION ALL
    (SELECT id, expires_at FROM strait.workflow_runs WHERE expires_at <= %(now)s AND status <> 'compensating'
        ORDER BY expires_at LIMIT %(limit)s)
) found GROUP BY id ORDER BY min(due_at)

-- name: due_steps
SELECT s.step, s.due_at, s.event_id, e.status AS event_status, e.payload
FROM strait.workflow_steps s LEFT JOIN strait.events e ON e.id = s.event_id
WHERE s.workflow_run_id = %(id)s AND s.due_at <= %(now)s ORDER BY s.step

-- name: next_due
SELECT least((SELECT min(due_at) FROM strait.workflow_steps WHERE due_at IS NOT NULL),
    (SELECT min(expires_at) FROM strait.workflow_runs WHERE expires_at IS NOT NULL AND status <> 'compensating'))

-- name: waiting_workflows
-- Workflows that have runs which wait for others to end.
SELECT DISTINCT workflow_id FROM strait.workflow_runs WHERE status = 'pending'

-- name: next_pending
SELECT id FROM strait.workflow_runs WHERE workflow_id = %(workflow_id)s AND status = 'pending'
ORDER BY id LIMIT %(limit)s

-- name: active_of
SELECT id FROM strait.workflow_runs WHERE workflow_id = %(workflow_id)s LIMIT 1

-- name: count_running
SELECT count(*) FROM strait.workflow_runs WHERE workflow_id = %(workflow_id)s AND status <> 'pending'

-- name: untouched
-- Running, with nothing in flight, and nobody has touched them for a while.
SELECT r.id FROM strait.workflow_runs r WHERE r.status IN ('running', 'compensating') AND r.touched_at < %(before)s
    AND NOT EXISTS (SELECT FROM strait.workflow_steps s WHERE s.workflow_run_id = r.id
        AND s.status IN ('running', 'waiting'))
ORDER BY r.id LIMIT %(limit)s

-- name: insert_approval
INSERT INTO strait.approvals (id, workflow_run_id, step, step_ref, workflow_id, project_id, status, approvers, created_at,
    expires_at)
VALUES (%(id)s, %(workflow_run_id)s, %(step)s, %(step_ref)s, %(workflow_id)s, %(project_id)s, 'pending', %(approvers)s,
    %(now)s, %(expires_at)s)

-- name: forget_approvals
DELETE FROM strait.approvals WHERE id IN (
    SELECT id FROM strait.approvals WHERE decided_at < %(before)s ORDER BY decided_at LIMIT %(limit)s)
RETURNING id

-- name: close_approvals
UPDATE strait.approvals SET status = %(status)s, decided_at = %(now)s, decided_by = %(by)s, comment = %(comment)s
WHERE workflow_run_id = %(id)s AND step = ANY(%(steps)s) AND status = 'pending'

-- name: list_runs
SELECT r.*, w.slug AS workflow_slug FROM (
    SELECT id, root_id, workflow_id, project_id, version, status, seq, tags, labels, has_failures, error_class, error,
        triggered_by, parent_run_id, created_at, started_at, expires_at, finished_at, fire_at
    FROM strait.all_workflow_runs r
    WHERE (%(project_id)s::text IS NULL OR r.project_id = %(project_id)s)
        AND (%(workflow_id)s::uuid IS NULL OR r.workflow_id = %(workflow_id)s)
        AND (%(statuses)s::text[] IS NULL OR r.status = ANY(%(statuses)s))
        AND (%(tags)s::jsonb IS NULL OR r.tags @> %(tags)s)
        AND (%(low)s::uuid IS NULL OR r.id BETWEEN %(low)s AND %(high)s)
        AND (%(created_after)s::timestamptz IS NULL OR r.created_at > %(created_after)s)
        AND (%(created_before)s::timestamptz IS NULL OR r.created_at < %(created_before)s)
        AND (%(before)s::uuid IS NULL OR r.id < %(before)s)
    ORDER BY id DESC LIMIT %(limit)s
) r JOIN strait.workflows w ON w.id = r.workflow_id ORDER BY r.id DESC

-- name: recent_lengths
-- The median seconds of the completed steps of the newest runs of a workflow that are over, by version.
SELECT r.version, s.step,
    percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM s.finished_at - s.started_at)::float8) AS secs
FROM (SELECT id, version, finished_at, keep FROM strait.workflow_run_history
    WHERE workflow_id = %(workflow_id)s ORDER BY id DESC LIMIT %(limit)s) r
JOIN strait.workflow_step_history s ON s.workflow_run_id = r.id AND s.keep = r.keep AND s.ended_at = r.finished_at
WHERE s.step >= 0 AND s.status = 'completed' AND s.started_at IS NOT NULL
GROUP BY r.version, s.step

-- name: select_ids
-- Outermost runs that a filter chooses, of those that are over or of the others. Each half says which it is by a constant
-- and has no condition of its own, so that one is read in the order of its index and the other not at all.
SELECT r.id FROM (
    SELECT id, project_id, workflow_id, status, tags, created_at, parent_run_id, false AS ended
    FROM strait.workflow_runs
    UNION ALL
    SELECT id, project_id, workflow_id, status, tags, created_at, parent_run_id, true FROM strait.workflow_run_history
) r
WHERE r.ended = %(ended)s AND (%(project_id)s::text IS NULL OR r.project_id = %(project_id)s)
    AND (%(workflow_id)s::uuid IS NULL OR r.workflow_id = %(workflow_id)s)
    AND (%(statuses)s::text[] IS NULL OR r.status = ANY(%(statuses)s))
    AND (%(tags)s::jsonb IS NULL OR r.tags @> %(tags)s)
    AND (%(low)s::uuid IS NULL OR r.id BETWEEN %(low)s AND %(high)s)
    AND (%(created_after)s::timestamptz IS NULL OR r.created_at > %(created_after)s)
    AND (%(created_before)s::timestamptz IS NULL OR r.created_at < %(created_before)s)
    AND (%(before)s::uuid IS NULL OR r.id < %(before)s)
    AND r.parent_run_id IS NULL
ORDER BY r.id DESC LIMIT %(limit)s

-- name: places
SELECT id, status, project_id, parent_run_id IS NOT NULL AS is_child FROM strait.all_workflow_runs WHERE id = ANY(%(ids)s)

-- name: runs_by_id
SELECT r.*, w.slug AS workflow_slug FROM strait.all_workflow_runs r JOIN strait.workflows w ON w.id = r.workflow_id
WHERE r.id = ANY(%(ids)s) ORDER BY r.id DESC

-- name: list_approvals
SELECT * FROM strait.approvals
WHERE (%(project_id)s::text IS NULL OR project_id = %(project_id)s)
    AND (%(status)s::text IS NULL OR status = %(status)s)
    AND (%(before)s::uuid IS NULL OR id < %(before)s)
    AND (%(low)s::uuid IS NULL OR id BETWEEN %(low)s AND %(high)s)
ORDER BY id DESC LIMIT %(limit)s

-- name: get_approval
SELECT * FROM strait.approvals WHERE id = %(id)s
