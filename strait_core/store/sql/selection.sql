-- Many runs at once.

-- name: places
SELECT r.id, r.status, r.project_id, j.deleted_at IS NOT NULL AS deleted, j.enabled, r.workflow_run_id IS NOT NULL AS is_step FROM (
    SELECT id, status, project_id, job_id, workflow_run_id FROM strait.runs WHERE id = ANY(%(ids)s)
    UNION ALL
    SELECT id, status, project_id, job_id, workflow_run_id FROM strait.run_history
    WHERE id = ANY(%(ids)s) AND finished_at >= %(made_at)s
) r JOIN strait.jobs j ON j.id = r.job_id
