-- What the feed of all runs reads: where many runs stand and how they came there, without payload and result.

-- name: run_heads
SELECT r.id, r.job_id, j.slug AS job_slug, r.project_id, r.status, r.seq, r.attempt, r.created_at, r.scheduled_at,
    r.claimed_at, r.started_at
FROM strait.runs r JOIN strait.jobs j ON j.id = r.job_id WHERE r.id = ANY(%(ids)s)
UNION ALL
SELECT r.id, r.job_id, j.slug, r.project_id, r.status, r.seq, r.attempt, r.created_at, r.scheduled_at, NULL, r.started_at
FROM strait.run_history r JOIN strait.jobs j ON j.id = r.job_id
WHERE r.id = ANY(%(ids)s) AND r.finished_at >= %(made_at)s

-- name: attempts_of
SELECT run_id, number, seq, outcome, claimed_at, started_at, finished_at, error FROM strait.attempts
WHERE run_id = ANY(%(ids)s) AND finished_at >= %(made_at)s

-- name: moves_of
SELECT run_id, seq, event, status, attempt, at, reason FROM strait.run_events
WHERE run_id = ANY(%(ids)s) AND at >= %(made_at)s

-- name: workflow_heads
SELECT r.id, r.workflow_id, w.slug AS workflow_slug, r.project_id, r.status, r.seq, r.touched_at AS at
FROM strait.workflow_runs r JOIN strait.workflows w ON w.id = r.workflow_id WHERE r.id = ANY(%(ids)s)
UNION ALL
SELECT r.id, r.workflow_id, w.slug, r.project_id, r.status, r.seq, r.finished_at
FROM strait.workflow_run_history r JOIN strait.workflows w ON w.id = r.workflow_id
WHERE r.id = ANY(%(ids)s) AND r.finished_at >= %(made_at)s

-- name: moved_since
-- Runs and workflow runs that are new, are under way, or have ended since then: whatever a listener may have missed.
(SELECT id FROM strait.runs WHERE id > %(low)s ORDER BY id DESC LIMIT %(limit)s)
UNION
(SELECT id FROM strait.runs WHERE claimed_at > %(since)s AND status IN ('dequeued', 'executing') LIMIT %(limit)s)
UNION
(SELECT id FROM strait.run_history WHERE finished_at > %(since)s ORDER BY finished_at DESC LIMIT %(limit)s)
UNION
(SELECT id FROM strait.workflow_runs WHERE touched_at > %(since)s LIMIT %(limit)s)
UNION
(SELECT id FROM strait.workflow_run_history WHERE finished_at > %(since)s LIMIT %(limit)s)
