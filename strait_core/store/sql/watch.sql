-- What a watcher of runs reads: small rows, without payload and result.

-- name: run_head
SELECT id, job_id, project_id, status, seq, attempt, created_at, scheduled_at, claimed_at, started_at, note_seq, progress
FROM strait.runs WHERE id = %(id)s

-- name: finished_head
SELECT id, job_id, project_id, status, seq, attempt, created_at, scheduled_at, NULL::timestamptz AS claimed_at,
    started_at, note_seq, progress
FROM strait.run_history WHERE id = %(id)s AND finished_at >= %(made_at)s

-- name: heads
-- The same of many runs; at any moment a run is in one of the two.
SELECT id, job_id, project_id, status, seq, attempt, created_at, scheduled_at, claimed_at, started_at, note_seq, progress
FROM strait.runs WHERE id = ANY(%(ids)s)
UNION ALL
SELECT id, job_id, project_id, status, seq, attempt, created_at, scheduled_at, NULL, started_at, note_seq, progress
FROM strait.run_history WHERE id = ANY(%(ids)s) AND finished_at >= %(made_at)s

-- name: seqs
-- Runs that are active still, with the numbers of their last move and note; one that is absent has ended.
SELECT id, seq, coalesce(note_seq, 0) FROM strait.runs WHERE id = ANY(%(ids)s)
UNION ALL
SELECT id, seq, 0 FROM strait.workflow_runs WHERE id = ANY(%(ids)s)
