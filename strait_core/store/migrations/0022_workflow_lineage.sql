-- How many runs have started one another, by completion triggers, before this workflow run; null = none. Its job runs go
-- on counting from there, so that a circle through workflows ends too.
ALTER TABLE strait.workflow_runs ADD COLUMN lineage_depth integer;
ALTER TABLE strait.workflow_run_history ADD COLUMN lineage_depth integer;
