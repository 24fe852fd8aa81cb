-- What endpoints say while they work: notes on the run, log lines, accepted callbacks, spending.

ALTER TABLE strait.runs
    -- The last report: {percent, message, at, seq}.
    ADD COLUMN progress jsonb,
    -- Named outputs and the run's own key-value state: each value is a string that holds its JSON text, as it was sent.
    ADD COLUMN outputs jsonb,
    ADD COLUMN state jsonb,
    -- What was reported as used: {"<provider>/<model>": {provider, model, prompt_tokens, …}}.
    ADD COLUMN usage jsonb,
    ADD COLUMN checkpoint text,
    -- Counts log lines and reports of progress: the order in which a watcher sees them.
    ADD COLUMN note_seq integer,
    -- The endpoint's own last heartbeat; one before the attempt's start says nothing of the attempt.
    ADD COLUMN beat_at timestamptz;

ALTER TABLE strait.run_history
    ADD COLUMN progress jsonb,
    ADD COLUMN outputs jsonb,
    ADD COLUMN state jsonb,
    ADD COLUMN usage jsonb,
    ADD COLUMN checkpoint text,
    ADD COLUMN note_seq integer;

CREATE TABLE strait.run_logs (
    run_id  uuid NOT NULL,
    seq     integer NOT NULL,
    attempt integer NOT NULL,
    at      timestamptz NOT NULL,
    level   text NOT NULL,
    message text NOT NULL,
    -- JSON text, as it was sent.
    data    text,
    keep    text NOT NULL
) PARTITION BY LIST (keep);
CREATE TABLE strait.run_logs_short PARTITION OF strait.run_logs FOR VALUES IN ('short') PARTITION BY RANGE (at);
CREATE TABLE strait.run_logs_long PARTITION OF strait.run_logs FOR VALUES IN ('long') PARTITION BY RANGE (at);
CREATE INDEX run_logs_run ON strait.run_logs (run_id, seq);

-- Attempts whose endpoint has accepted (2xx) and will say later how they end: no worker holds them.
-- A row whose run has moved on means nothing; its deadline clears it away.
CREATE TABLE strait.callbacks (
    run_id        uuid PRIMARY KEY,
    attempt       integer NOT NULL,
    lease         bigint NOT NULL,
    deadline_at   timestamptz NOT NULL,
    http_status   integer,
    fallback      text,
    queue_wait_ms real,
    connect_ms    real,
    ttfb_ms       real,
    transfer_ms   real
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX callbacks_deadline ON strait.callbacks (deadline_at);

-- What a project may spend in a day of its zone, and what it has spent in each quarter of an hour.
CREATE TABLE strait.budgets (
    project_id     text PRIMARY KEY,
    daily_microusd bigint NOT NULL,
    timezone       text NOT NULL,
    updated_at     timestamptz NOT NULL
);
CREATE TABLE strait.spending (
    project_id text NOT NULL,
    bucket     timestamptz NOT NULL,
    microusd   numeric NOT NULL,
    PRIMARY KEY (project_id, bucket)
) WITH (fillfactor = 50);

CREATE OR REPLACE VIEW strait.all_runs AS
SELECT id, job_id, project_id, status, seq, attempt, attempt_base, max_attempts, priority, timeout_secs, job_version,
       retry_strategy, started_at, NULL::timestamptz AS finished_at, next_retry_at, created_at, scheduled_at,
       expires_at, batch_id, triggered_by, error_class, error, tags, metadata, payload, NULL::text AS result,
       false AS result_truncated, worker_id, idempotency_key,
       concurrency_key, parent_run_id, continuation_of, lineage_depth, fire_at, cost_microusd, warnings, progress,
       beat_at
FROM strait.runs
UNION ALL
SELECT id, job_id, project_id, status, seq, attempt, attempt_base, max_attempts, priority, timeout_secs, job_version,
       retry_strategy, started_at, finished_at, NULL, created_at, scheduled_at,
       expires_at, batch_id, triggered_by, error_class, error, tags, metadata, payload, result,
       result_truncated, NULL, idempotency_key,
       concurrency_key, parent_run_id, continuation_of, lineage_depth, fire_at, cost_microusd, warnings, progress,
       NULL::timestamptz
FROM strait.run_history;
