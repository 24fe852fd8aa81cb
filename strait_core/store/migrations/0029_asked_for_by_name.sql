-- Only what asks for the runs of a job or of a workflow may use these indexes. PostgreSQL 18 would look runs up by id in
-- them too, hopping from job to job: while the table is empty, as it often is, that costs as little as the primary key,
-- and the hot statements keep such a plan. The condition holds for every row, but not for a query without the column.
DROP INDEX strait.runs_job;
CREATE INDEX runs_job ON strait.runs (job_id, id) WHERE job_id IS NOT NULL;
DROP INDEX strait.workflow_runs_workflow;
CREATE INDEX workflow_runs_workflow ON strait.workflow_runs (workflow_id, id) WHERE workflow_id IS NOT NULL;
