-- One run at a time, or a few: reads, and the rare moves (cancel, expire, replay).

-- name: get_runs
SELECT r.*, j.slug AS job_slug, w.heartbeat_at
FROM strait.runs r JOIN strait.jobs j ON j.id = r.job_id LEFT JOIN strait.workers w ON w.id = r.worker_id
WHERE r.id = ANY(%(ids)b::uuid[])

-- name: get_finished_runs
-- No run ends before it was made: the time inside the id rules out every older partition.
SELECT h.*, j.slug AS job_slug FROM strait.run_history h JOIN strait.jobs j ON j.id = h.job_id
WHERE h.id = ANY(%(ids)b::uuid[]) AND h.finished_at >= %(made_at)s

-- name: runs_by_id
SELECT r.*, j.slug AS job_slug, w.heartbeat_at FROM (
    SELECT id, job_id, project_id, status, seq, attempt, max_attempts, priority, timeout_secs, job_version, started_at,
        NULL::timestamptz AS finished_at, next_retry_at, created_at, scheduled_at, expires_at, batch_id, triggered_by,
        error_class, error, tags, metadata, false AS result_truncated, idempotency_key, worker_id AS held_by,
        concurrency_key, parent_run_id, continuation_of, lineage_depth, fire_at, cost_microusd, warnings, progress,
        beat_at, workflow_run_id, step_ref
    FROM strait.runs WHERE id = ANY(%(ids)s)
    UNION ALL
    SELECT id, job_id, project_id, status, seq, attempt, max_attempts, priority, timeout_secs, job_version, started_at,
        finished_at, NULL, created_at, scheduled_at, expires_at, batch_id, triggered_by, error_class, error, tags,
        metadata, result_truncated, idempotency_key, NULL,
        concurrency_key, parent_run_id, continuation_of, lineage_depth, fire_at, cost_microusd, warnings, progress,
        NULL::timestamptz, workflow_run_id, step_ref
    FROM strait.run_history WHERE id = ANY(%(ids)s) AND finished_at >= %(made_at)s
) r JOIN strait.jobs j ON j.id = r.job_id LEFT JOIN strait.workers w ON w.id = r.held_by

-- name: match_runs
-- Ids in a range (a shortened id), wherever the runs stand.
SELECT id FROM strait.all_runs WHERE id BETWEEN %(low)s AND %(high)s ORDER BY id DESC LIMIT %(limit)s

-- name: lock_entries
-- Takes the ready and due entries of these runs before the runs themselves, as a claim and a promotion do.
WITH queued AS MATERIALIZED (
    SELECT job_id, priority, ready_seq FROM strait.runs WHERE id = ANY(%(ids)s) AND status = 'queued'
), places AS MATERIALIZED (
    SELECT l.lane, q.priority, q.ready_seq FROM queued q JOIN strait.jobs j ON j.id = q.job_id
    CROSS JOIN LATERAL unnest(ARRAY[0, j.own_lane]) AS l(lane)
    WHERE j.id = ANY(ARRAY(SELECT job_id FROM queued)) ORDER BY q.ready_seq
), entries AS MATERIALIZED (
    -- In the order of the places, each by the whole key of the ready order.
    SELECT e.run_id FROM places p CROSS JOIN LATERAL (
        SELECT r.run_id FROM strait.ready r
        WHERE r.lane = p.lane AND r.priority = p.priority AND r.ready_seq = p.ready_seq LIMIT 1 FOR UPDATE
    ) e
), later AS MATERIALIZED (
    SELECT d.run_id FROM strait.due d WHERE d.run_id = ANY(%(ids)s) ORDER BY d.run_id FOR UPDATE
), waiting AS MATERIALIZED (
    SELECT p.run_id FROM strait.parked p WHERE p.run_id = ANY(%(ids)s) ORDER BY p.run_id FOR UPDATE
)
SELECT run_id FROM entries UNION ALL SELECT run_id FROM later UNION ALL SELECT run_id FROM waiting

-- name: end_active
-- Ends runs that are in one of `from`: cancel, expiry, our own fault before dispatch. A live attempt is closed with it.
WITH ended AS (
    DELETE FROM strait.runs r WHERE r.id = ANY(%(ids)s) AND r.status = ANY(%(from)s)
        AND (%(lease)s::bigint IS NULL OR r.lease = %(lease)s)
        AND (%(attempt)s::integer IS NULL OR r.attempt = %(attempt)s)
    RETURNING r.*
), kept AS (
    INSERT INTO strait.run_history (id, job_id, project_id, status, seq, attempt, attempt_base, max_attempts,
        priority, timeout_secs, job_version, retry_strategy, started_at, finished_at, created_at, scheduled_at,
        expires_at, batch_id, triggered_by, error_class, error, tags, metadata, payload, result, result_truncated, keep,
        idempotency_key, concurrency_key, parent_run_id, continuation_of, lineage_depth, fire_at, cost_microusd, warnings,
        progress, outputs, state, usage, checkpoint, note_seq, workflow_run_id, step_ref)
    SELECT id, job_id, project_id, %(to)s, seq + 1, attempt, attempt_base, max_attempts, priority, timeout_secs,
        job_version, retry_strategy, started_at, %(now)s, created_at, scheduled_at, expires_at, batch_id,
        triggered_by, coalesce(%(error_class)s::text, error_class), coalesce(%(error)s::text, error), tags, metadata,
        payload, %(result)s::text, false, %(keep)s,
        idempotency_key, concurrency_key, parent_run_id, continuation_of, lineage_depth, fire_at, cost_microusd, warnings,
        progress, outputs, state, usage, checkpoint, note_seq, workflow_run_id, step_ref
    FROM ended
), tried AS (
    INSERT INTO strait.attempts (run_id, number, seq, outcome, worker_id, lease, claimed_at, started_at, finished_at,
        error_class, error, keep)
    SELECT id, attempt, seq + 1, %(to)s, worker_id, lease, claimed_at, started_at, %(now)s,
        %(error_class)s::text, %(error)s::text, %(keep)s
    FROM ended WHERE status = 'executing'
), noted AS (
    INSERT INTO strait.run_events (run_id, seq, event, status, attempt, at, reason, keep)
    SELECT id, seq + 1, %(event)s, %(to)s, attempt, %(now)s, %(reason)s, %(keep)s FROM ended
), counted AS (
    INSERT INTO strait.stats_deltas (at, moves, ids, owners, seqs, attempts, statuses)
    SELECT %(now)s::timestamptz, m.moves, c.* FROM (
        SELECT jsonb_agg(jsonb_build_array(project_id, job_id, counted_as, %(to)s::text, n)) AS moves
        FROM (SELECT project_id, job_id, CASE WHEN status = 'queued' AND next_retry_at IS NOT NULL THEN 'retrying'
            ELSE status END AS counted_as, count(*) AS n FROM ended GROUP BY 1, 2, 3) g
    ) m, (
        SELECT array_agg(id), array_agg(job_id), array_agg(seq + 1), array_agg(attempt), ARRAY[%(to)s::text] FROM ended
    ) c
    WHERE m.moves IS NOT NULL
)
SELECT id, job_id, priority, ready_seq, status, worker_id, waits, awaited, slot_lane, concurrency_key,
    workflow_run_id, step_index FROM ended

-- name: drop_entries
-- Clears the ready and due entries of runs that have just ended, whatever a concurrent transaction had added. It never
-- waits: an entry that another holds by now is about to be taken by a claim or a promotion, which will find no run.
WITH batch AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(batch)b::jsonb) AS b(id uuid, job_id uuid, priority smallint, ready_seq bigint)
), entries AS MATERIALIZED (
    SELECT e.at FROM batch b JOIN strait.jobs j ON j.id = b.job_id
    CROSS JOIN LATERAL unnest(ARRAY[0, j.own_lane]) AS l(lane)
    CROSS JOIN LATERAL (
        SELECT r.ctid AS at FROM strait.ready r
        WHERE r.lane = l.lane AND r.priority = b.priority AND r.ready_seq = b.ready_seq LIMIT 1 FOR UPDATE SKIP LOCKED
    ) e
    WHERE j.id = ANY(ARRAY(SELECT job_id FROM batch))
), unready AS (
    DELETE FROM strait.ready WHERE ctid = ANY(ARRAY(SELECT at FROM entries))
), unparked AS (
    DELETE FROM strait.parked WHERE run_id = ANY(ARRAY(SELECT id FROM batch))
), later AS MATERIALIZED (
    SELECT run_id FROM strait.due WHERE run_id = ANY(ARRAY(SELECT id FROM batch)) FOR UPDATE SKIP LOCKED
)
DELETE FROM strait.due WHERE run_id = ANY(ARRAY(SELECT run_id FROM later))

-- name: expired_ids
SELECT id FROM strait.runs WHERE expires_at <= %(now)s AND status IN ('delayed', 'queued')
ORDER BY expires_at LIMIT %(limit)s

-- name: hold_due
-- Comes back while the run waits for its time; a promotion under way is waited for.
SELECT run_id FROM strait.due WHERE run_id = %(id)s FOR UPDATE

-- name: reschedule
-- Moves the time that a run waits for, whose due entry the caller holds. A delayed run keeps its time to live, which
-- counts from its time; it stays later than its creation, by which one tells that it was delayed.
WITH moved AS (
    UPDATE strait.runs r SET seq = r.seq + 1,
        scheduled_at = CASE r.status WHEN 'delayed' THEN greatest(%(at)s, r.created_at + interval '1 microsecond')
            ELSE r.scheduled_at END,
        expires_at = CASE r.status WHEN 'delayed' THEN r.expires_at
            + (greatest(%(at)s, r.created_at + interval '1 microsecond') - r.scheduled_at) ELSE r.expires_at END,
        next_retry_at = CASE r.status WHEN 'queued' THEN %(at)s::timestamptz END
    WHERE r.id = %(id)s AND r.status IN ('delayed', 'queued')
    RETURNING r.id, r.job_id, r.status, r.seq, r.attempt, coalesce(r.next_retry_at, r.scheduled_at) AS due_at
), noted AS (
    INSERT INTO strait.run_events (run_id, seq, event, status, attempt, at, reason, keep)
    SELECT id, seq, 'reschedule', status, attempt, %(now)s, %(reason)s, 'long' FROM moved
), told AS (
    INSERT INTO strait.stats_deltas (at, moves, ids, owners, seqs, attempts, statuses)
    SELECT %(now)s, '[]', ARRAY[id], ARRAY[job_id], ARRAY[seq], ARRAY[attempt], ARRAY[status] FROM moved
)
UPDATE strait.due d SET due_at = m.due_at FROM moved m WHERE d.run_id = m.id RETURNING d.due_at

-- name: replay
-- Brings finished runs back: same id, attempt numbers go on, a fresh allowance, the TTL starts anew.
WITH last_replay AS (
    SELECT e.run_id, max(e.at) AS replayed_at FROM strait.run_events e
    WHERE e.run_id = ANY(%(ids)s) AND e.at >= %(made_at)s AND e.event = 'replay' GROUP BY e.run_id
), back AS (
    DELETE FROM strait.run_history h USING strait.jobs j
    WHERE h.id = ANY(%(ids)s) AND h.finished_at >= %(made_at)s AND h.status = ANY(%(from)s)
        AND j.id = h.job_id AND j.enabled AND j.deleted_at IS NULL
        -- A step is retried by its workflow run.
        AND h.workflow_run_id IS NULL
    RETURNING h.*, j.lane, j.latest, j.version, nextval('strait.ready_seqs') AS ready_seq
), stored AS (
    INSERT INTO strait.runs (id, job_id, project_id, status, seq, attempt, attempt_base, max_attempts, priority,
        timeout_secs, job_version, retry_strategy, ready_seq, ready_at, started_at, created_at, scheduled_at,
        expires_at, batch_id, triggered_by, error_class, error, tags, metadata, payload,
        idempotency_key, concurrency_key, parent_run_id, continuation_of, lineage_depth, fire_at, cost_microusd, warnings,
        progress, outputs, state, usage, checkpoint, note_seq)
    SELECT id, job_id, project_id, 'queued', seq + 1, attempt, attempt, max_attempts, priority, timeout_secs,
        CASE WHEN latest THEN version ELSE job_version END, retry_strategy, ready_seq, %(now)s, started_at, created_at,
        scheduled_at, %(now)s + (expires_at - greatest(created_at, scheduled_at, replayed_at)), batch_id, triggered_by,
        error_class, error, tags, metadata, payload,
        idempotency_key, concurrency_key, parent_run_id, continuation_of, lineage_depth, fire_at, cost_microusd, warnings,
        progress, outputs, state, usage, checkpoint, note_seq
    FROM back LEFT JOIN last_replay ON run_id = id
), readied AS (
    INSERT INTO strait.ready (lane, priority, ready_seq, run_id, job_id, ready_at)
    SELECT lane, priority, ready_seq, id, job_id, %(now)s FROM back
), noted AS (
    INSERT INTO strait.run_events (run_id, seq, event, status, attempt, at, reason, keep)
    SELECT id, seq + 1, 'replay', 'queued', attempt, %(now)s, status, 'long' FROM back
), counted AS (
    INSERT INTO strait.stats_deltas (at, moves, ids, owners, seqs, attempts, statuses)
    SELECT %(now)s::timestamptz, m.moves, c.* FROM (
        SELECT jsonb_agg(jsonb_build_array(project_id, job_id, status, 'queued', n)) AS moves
        FROM (SELECT project_id, job_id, status, count(*) AS n FROM back GROUP BY 1, 2, 3) g
    ) m, (
        SELECT array_agg(id), array_agg(job_id), array_agg(seq + 1), array_agg(attempt), ARRAY['queued'] FROM back
    ) c
    WHERE m.moves IS NOT NULL
)
SELECT id FROM back

-- name: allow_scan
-- For one transaction: a statement without a key reads the whole table, which is quicker than walking an index.
SET LOCAL enable_seqscan = on

-- name: by_index
-- For one transaction: whatever the planner thinks of the tables' sizes, keys are looked up and nothing is scanned.
SET LOCAL enable_seqscan = off

-- name: held_by_worker
-- Runs whose live attempt belongs to this worker process; read only when the worker has died or asks what it still has.
SELECT id, job_id, job_version, status, attempt, attempt_base, max_attempts, priority, retry_strategy, lease,
    coalesce(slot_lane, 0) AS lane, workflow_run_id, step_index, retry_initial_secs, retry_max_secs
FROM strait.runs WHERE worker_id = %(worker)s AND status IN ('dequeued', 'executing') LIMIT %(limit)s

-- name: still_held
-- Under which leases these runs are live; by key alone, for any join could be planned as a scan of all runs.
SELECT id, lease FROM strait.runs WHERE id = ANY(%(ids)b) AND status IN ('dequeued', 'executing')

-- name: attempts
SELECT * FROM strait.attempts WHERE run_id = ANY(%(ids)b::uuid[]) AND finished_at >= %(made_at)s ORDER BY run_id, number

-- name: live_attempt
SELECT attempt, worker_id, lease, claimed_at, started_at, ready_at, seq, status FROM strait.runs
WHERE id = %(id)s AND status IN ('dequeued', 'executing')

-- name: run_events
SELECT run_id, seq, event, status, attempt, at, reason FROM strait.run_events
WHERE run_id = ANY(%(ids)b::uuid[]) AND at >= %(made_at)s ORDER BY run_id, seq
