-- Runs that an ending starts, in the transaction that ends the first one.

-- name: ended_runs
-- Runs that have just ended, with the definition of their version.
WITH ended AS MATERIALIZED (
    SELECT * FROM strait.run_history WHERE id = ANY(%(ids)s) AND finished_at >= %(made_at)s
)
SELECT h.id, h.job_id, h.project_id, h.status, h.seq, h.attempt, h.payload, h.result, h.error, h.error_class,
    h.created_at, h.finished_at, h.lineage_depth, h.tags, h.metadata, v.definition, j.slug AS job_slug
FROM ended h
JOIN strait.job_versions v ON v.job_id = h.job_id AND v.version = h.job_version
JOIN strait.jobs j ON j.id = h.job_id
WHERE v.job_id = ANY(ARRAY(SELECT job_id FROM ended)) AND j.id = ANY(ARRAY(SELECT job_id FROM ended))

-- name: warn
-- Says on a run that has ended what it could not start.
UPDATE strait.run_history SET warnings = coalesce(warnings, '[]') || jsonb_build_array(%(warning)s::text)
WHERE id = %(id)s AND finished_at = %(finished_at)s
