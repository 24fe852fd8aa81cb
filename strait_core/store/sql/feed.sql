-- What the feed reads besides the courses of runs.

-- name: workflow_heads
SELECT r.id, r.workflow_id, w.slug AS workflow_slug, r.project_id, r.status, r.seq, r.touched_at AS at
FROM strait.workflow_runs r JOIN strait.workflows w ON w.id = r.workflow_id WHERE r.id = ANY(%(ids)b::uuid[])
UNION ALL
SELECT r.id, r.workflow_id, w.slug, r.project_id, r.status, r.seq, r.finished_at
FROM strait.workflow_run_history r JOIN strait.workflows w ON w.id = r.workflow_id
WHERE r.id = ANY(%(ids)b::uuid[]) AND r.finished_at >= %(made_at)s

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
