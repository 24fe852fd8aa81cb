-- Schedules of workflows, by the machinery of those of jobs.

-- What a schedule can fire: of a workflow the definition without its steps.
CREATE VIEW strait.schedule_owners AS
SELECT id, 'job'::text AS kind, project_id, slug, version, definition, enabled, paused, deleted_at FROM strait.jobs
UNION ALL
SELECT id, 'workflow', project_id, slug, version, definition, enabled, paused, deleted_at FROM strait.workflows;

ALTER TABLE strait.schedules DROP CONSTRAINT schedules_kind_check, DROP CONSTRAINT schedules_target_id_fkey;
ALTER TABLE strait.schedules ADD CONSTRAINT schedules_kind_check CHECK (kind IN ('job', 'workflow'));

-- The tick that has made a run; null for any other.
ALTER TABLE strait.workflow_runs ADD COLUMN fire_at timestamptz;
ALTER TABLE strait.workflow_run_history ADD COLUMN fire_at timestamptz;
CREATE INDEX workflow_runs_ticks ON strait.workflow_runs (workflow_id, id) WHERE fire_at IS NOT NULL;

CREATE OR REPLACE VIEW strait.all_workflow_runs AS
SELECT id, root_id, workflow_id, project_id, version, status, seq, payload, tags, labels, disabled, has_failures,
       error_class, error, triggered_by, parent_run_id, parent_step, depth, created_at, started_at, expires_at,
       NULL::timestamptz AS finished_at, fire_at
FROM strait.workflow_runs
UNION ALL
SELECT id, root_id, workflow_id, project_id, version, status, seq, payload, tags, labels, disabled, has_failures,
       error_class, error, triggered_by, parent_run_id, parent_step, depth, created_at, started_at, expires_at,
       finished_at, fire_at
FROM strait.workflow_run_history;
