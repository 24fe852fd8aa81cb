-- What a run carries for limits, lineage, schedules and budgets.

ALTER TABLE strait.runs
    -- Runs of a job that share this key share its `max_concurrency_per_key`.
    ADD COLUMN concurrency_key text,
    -- Who spawned this run; who it goes on from; how many ancestors of either kind it has (null = none).
    ADD COLUMN parent_run_id uuid,
    ADD COLUMN continuation_of uuid,
    ADD COLUMN lineage_depth integer,
    -- The tick of the schedule that made this run.
    ADD COLUMN fire_at timestamptz,
    -- What the run has reported as spent (null = nothing).
    ADD COLUMN cost_microusd bigint,
    -- What was accepted but deserves a look: a list of texts (null = nothing).
    ADD COLUMN warnings jsonb;

ALTER TABLE strait.run_history
    ADD COLUMN concurrency_key text,
    ADD COLUMN parent_run_id uuid,
    ADD COLUMN continuation_of uuid,
    ADD COLUMN lineage_depth integer,
    ADD COLUMN fire_at timestamptz,
    ADD COLUMN cost_microusd bigint,
    ADD COLUMN warnings jsonb;

CREATE OR REPLACE VIEW strait.all_runs AS
SELECT id, job_id, project_id, status, seq, attempt, attempt_base, max_attempts, priority, timeout_secs, job_version,
       retry_strategy, started_at, NULL::timestamptz AS finished_at, next_retry_at, created_at, scheduled_at,
       expires_at, batch_id, triggered_by, error_class, error, tags, metadata, payload, NULL::text AS result,
       false AS result_truncated, worker_id, idempotency_key,
       concurrency_key, parent_run_id, continuation_of, lineage_depth, fire_at, cost_microusd, warnings
FROM strait.runs
UNION ALL
SELECT id, job_id, project_id, status, seq, attempt, attempt_base, max_attempts, priority, timeout_secs, job_version,
       retry_strategy, started_at, finished_at, NULL, created_at, scheduled_at,
       expires_at, batch_id, triggered_by, error_class, error, tags, metadata, payload, result,
       result_truncated, NULL, idempotency_key,
       concurrency_key, parent_run_id, continuation_of, lineage_depth, fire_at, cost_microusd, warnings
FROM strait.run_history;
