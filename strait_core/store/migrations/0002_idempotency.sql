-- Idempotency keys: what a creating request was told, so that its repetition is told the same.

CREATE TABLE strait.idempotency_keys (
    project_id text NOT NULL,
    -- What the key was used for: `trigger:<job>`, `bulk:<job>`, `createJob`, `cloneJob:<job>`.
    route      text NOT NULL,
    key        text NOT NULL,
    body_hash  text NOT NULL,
    -- A trigger's answer is its runs, as they are when it is repeated; for any other route these are null, and the answer
    -- itself is kept.
    run_ids    uuid[],
    batch_id   uuid,
    status     integer,
    etag       text,
    response   text,
    -- Until then the key holds without a look; from then on a look at its runs tells whether they ended long enough ago.
    look_at    timestamptz NOT NULL,
    PRIMARY KEY (project_id, route, key)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX idempotency_keys_look ON strait.idempotency_keys (look_at);

ALTER TABLE strait.runs ADD COLUMN idempotency_key text;
ALTER TABLE strait.run_history ADD COLUMN idempotency_key text;

CREATE OR REPLACE VIEW strait.all_runs AS
SELECT id, job_id, project_id, status, seq, attempt, attempt_base, max_attempts, priority, timeout_secs, job_version,
       retry_strategy, started_at, NULL::timestamptz AS finished_at, next_retry_at, created_at, scheduled_at,
       expires_at, batch_id, triggered_by, error_class, error, tags, metadata, payload, NULL::text AS result,
       false AS result_truncated, worker_id, idempotency_key
FROM strait.runs
UNION ALL
SELECT id, job_id, project_id, status, seq, attempt, attempt_base, max_attempts, priority, timeout_secs, job_version,
       retry_strategy, started_at, finished_at, NULL, created_at, scheduled_at,
       expires_at, batch_id, triggered_by, error_class, error, tags, metadata, payload, result,
       result_truncated, NULL, idempotency_key
FROM strait.run_history;
