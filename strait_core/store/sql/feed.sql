-- What the feed reads besides the courses of runs.

-- name: workflow_heads
SELECT r.id, r.workflow_id, w.slug AS workflow_slug, r.project_id, r.status, r.seq, r.touched_at AS at,
    r.created_at, r.started_at
FROM strait.workflow_runs r JOIN strait.workflows w ON w.id = r.workflow_id WHERE r.id = ANY(%(ids)b::uuid[])
UNION ALL
SELECT r.id, r.workflow_id, w.slug, r.project_id, r.status, r.seq, r.finished_at, r.created_at, r.started_at
FROM strait.workflow_run_history r JOIN strait.workflows w ON w.id = r.workflow_id
WHERE r.id = ANY(%(ids)b::uuid[]) AND r.finished_at >= %(made_at)s

-- name: moved_between
-- Runs and workflow runs of which changes were published behind one position and up to another, each with the first and
-- the last seq among these.
SELECT e.id, min(c.seqs[least(e.entry, cardinality(c.seqs))]), max(c.seqs[least(e.entry, cardinality(c.seqs))])
FROM strait.changes c CROSS JOIN LATERAL unnest(c.ids) WITH ORDINALITY AS e(id, entry)
WHERE c.position > %(after)s AND c.position <= %(upto)s AND c.kind IN ('run', 'workflow_run')
GROUP BY e.id

-- name: slugs
SELECT id, slug FROM strait.jobs WHERE id = ANY(%(ids)b::uuid[])
UNION ALL
SELECT id, slug FROM strait.workflows WHERE id = ANY(%(ids)b::uuid[])
