-- What a watcher of runs reads: small rows, without payload and result.

-- name: heads
-- Where runs stand; at any moment a run is in one of the two.
SELECT r.id, r.job_id, j.slug AS job_slug, r.project_id, r.status, r.seq, r.attempt, r.created_at, r.scheduled_at,
    r.claimed_at, r.started_at, r.note_seq, r.progress
FROM strait.runs r JOIN strait.jobs j ON j.id = r.job_id WHERE r.id = ANY(%(ids)b::uuid[])
UNION ALL
SELECT r.id, r.job_id, j.slug, r.project_id, r.status, r.seq, r.attempt, r.created_at, r.scheduled_at,
    NULL, r.started_at, r.note_seq, r.progress
FROM strait.run_history r JOIN strait.jobs j ON j.id = r.job_id
WHERE r.id = ANY(%(ids)b::uuid[]) AND r.finished_at >= %(made_at)s

-- name: seqs
-- Runs that are active still, with the numbers of their last move and note; one that is absent has ended.
SELECT id, seq, coalesce(note_seq, 0) FROM strait.runs WHERE id = ANY(%(ids)b::uuid[])
UNION ALL
SELECT id, seq, 0 FROM strait.workflow_runs WHERE id = ANY(%(ids)b::uuid[])
