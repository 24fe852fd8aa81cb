-- Attempts that end with more to do than an ordinary one: their run waits, or is waited for.

-- name: lock_tied
-- Live attempts of the batch whose runs have waits or are awaited; an ordinary statement has passed them over.
SELECT r.id, r.waits, r.awaited FROM strait.runs r
JOIN jsonb_to_recordset(%(batch)b::jsonb) AS b(id uuid, attempt integer, lease bigint) ON b.id = r.id
WHERE r.id = ANY(%(ids)s) AND r.status = 'executing' AND r.attempt = b.attempt AND r.lease = b.lease
    AND (r.waits OR r.awaited)
ORDER BY r.id FOR UPDATE OF r

-- name: untie
-- From here on an ordinary statement ends the attempt.
UPDATE strait.runs SET waits = NULL, awaited = CASE WHEN %(ends)s THEN NULL ELSE awaited END WHERE id = ANY(%(ids)s)

-- name: tie_again
UPDATE strait.runs r SET waits = true
WHERE r.id = ANY(%(ids)s) AND r.id = ANY(ARRAY(SELECT run_id FROM strait.waits WHERE run_id = ANY(%(ids)s)))

-- name: park_if_held
-- executing → waiting: the attempt is closed and does not count.
WITH batch AS (
    SELECT * FROM jsonb_to_recordset(%(batch)b::jsonb) AS b(
        id uuid, attempt integer, lease bigint, finished_at timestamptz, reason text, http_status integer, fallback text,
        queue_wait_ms real, connect_ms real, ttfb_ms real, transfer_ms real, total_ms real)
), held AS MATERIALIZED (
    SELECT b.*, r.worker_id, r.claimed_at, r.started_at, r.slot_lane, greatest(b.finished_at, r.started_at) AS closed_at
    FROM batch b JOIN strait.runs r ON r.id = b.id
    WHERE r.id = ANY(ARRAY(SELECT id FROM batch)) AND r.status = 'executing' AND r.attempt = b.attempt
        AND r.lease = b.lease
    FOR UPDATE OF r
), parked AS (
    UPDATE strait.runs r SET status = 'waiting', seq = r.seq + 1, attempt_base = r.attempt_base + 1, lease = NULL,
        worker_id = NULL, slot_lane = NULL, error_class = NULL, error = NULL, error_fingerprint = NULL, error_streak = NULL,
        ready_seq = NULL, ready_at = NULL
    FROM held h WHERE r.id = ANY(ARRAY(SELECT id FROM held)) AND r.id = h.id
    RETURNING r.id, r.job_id, r.project_id, r.attempt, r.seq, h.closed_at AS finished_at, h.reason, h.lease, h.worker_id,
        h.claimed_at, h.started_at, h.http_status, h.fallback, h.queue_wait_ms, h.connect_ms, h.ttfb_ms,
        h.transfer_ms, h.total_ms,
        h.slot_lane AS freed_lane, r.concurrency_key
), tried AS (
    INSERT INTO strait.attempts (run_id, number, seq, outcome, worker_id, lease, claimed_at, started_at, finished_at,
        http_status, fallback, queue_wait_ms, connect_ms, ttfb_ms, transfer_ms, total_ms, keep)
    SELECT id, attempt, seq, 'waited', worker_id, lease, claimed_at, started_at, finished_at, http_status,
        fallback, queue_wait_ms, connect_ms, ttfb_ms, transfer_ms, total_ms, 'long'
    FROM parked
), noted AS (
    INSERT INTO strait.run_events (run_id, seq, event, status, attempt, at, reason, keep)
    SELECT id, seq, 'wait', 'waiting', attempt, finished_at, reason, 'long' FROM parked
), counted AS (
    INSERT INTO strait.stats_deltas (at, moves, ids, owners, seqs, attempts, statuses)
    SELECT %(now)s::timestamptz, m.moves, c.* FROM (
        SELECT jsonb_agg(jsonb_build_array(project_id, job_id, 'executing', 'waiting', n)) AS moves
        FROM (SELECT project_id, job_id, count(*) AS n FROM parked GROUP BY 1, 2) g
    ) m, (
        SELECT array_agg(id), array_agg(job_id), array_agg(seq), array_agg(attempt), ARRAY['waiting'] FROM parked
    ) c
    WHERE m.moves IS NOT NULL
)
SELECT CASE WHEN count(*) < (SELECT count(*) FROM batch) THEN coalesce(array_agg(id), '{}') END,
    array_agg((freed_lane, concurrency_key, finished_at)) FILTER (WHERE freed_lane IS NOT NULL) AS freed
FROM parked

-- name: overdue
SELECT DISTINCT run_id FROM (
    SELECT w.run_id FROM strait.waits w JOIN strait.runs r ON r.id = w.run_id AND r.status = 'waiting'
    WHERE w.outcome IS NULL AND w.due_at <= %(now)s ORDER BY w.due_at LIMIT %(limit)s) first

-- name: lock_waiting
SELECT id FROM strait.runs WHERE id = ANY(%(ids)s) AND status = 'waiting' ORDER BY id FOR UPDATE SKIP LOCKED

-- name: lock_overdue
-- Whoever would settle one of them now has to wait until the run has ended.
SELECT w.run_id, e.key FROM strait.waits w JOIN strait.events e ON e.id = w.event_id
WHERE w.run_id = ANY(%(ids)s) AND w.outcome IS NULL AND w.due_at <= %(now)s ORDER BY w.id FOR UPDATE OF w

-- name: next_overdue
SELECT min(due_at) FROM strait.waits WHERE outcome IS NULL
