-- Workflow runs and their steps: what is under way, and what has ended (moved away by the transaction that ends it).
--
-- Runs that came of one another's sub-workflow steps form a tree. Whoever changes anything in a tree holds the row of its
-- outermost run (`root_id`), so no two transactions ever look at the same tree.

CREATE TABLE strait.workflow_runs (
    id            uuid PRIMARY KEY,
    root_id       uuid NOT NULL,
    workflow_id   uuid NOT NULL,
    project_id    text NOT NULL,
    version       integer NOT NULL,
    status        text NOT NULL CHECK (status IN ('pending', 'running', 'paused', 'compensating')),
    -- Grows by one with each transaction that changes the run or one of its steps.
    seq           integer NOT NULL,
    payload       text NOT NULL,
    tags          jsonb NOT NULL,
    labels        jsonb NOT NULL,
    -- Steps that the trigger has switched off, by index.
    disabled      smallint[] NOT NULL,
    has_failures  boolean NOT NULL,
    error_class   text,
    error         text,
    triggered_by  text NOT NULL,
    -- The sub-workflow step that this run carries out, and how many runs stand above it.
    parent_run_id uuid,
    parent_step   smallint,
    depth         smallint NOT NULL,
    created_at    timestamptz NOT NULL,
    started_at    timestamptz,
    -- When its time is over; null = it has no limit.
    expires_at    timestamptz,
    touched_at    timestamptz NOT NULL,
    CHECK ((parent_run_id IS NULL) = (parent_step IS NULL)),
    CHECK ((parent_run_id IS NULL) = (root_id = id))
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX workflow_runs_workflow ON strait.workflow_runs (workflow_id, id);
CREATE INDEX workflow_runs_root ON strait.workflow_runs (root_id) WHERE root_id <> id;
CREATE INDEX workflow_runs_pending ON strait.workflow_runs (workflow_id, id) WHERE status = 'pending';
CREATE INDEX workflow_runs_expiry ON strait.workflow_runs (expires_at) WHERE expires_at IS NOT NULL;

-- A row is there once a step has left `pending`: a pending step follows from the definition.
CREATE TABLE strait.workflow_steps (
    workflow_run_id uuid NOT NULL,
    -- The step's index in the definition; -1 - index is what undoes that step.
    step            smallint NOT NULL,
    status          text NOT NULL CHECK (status IN ('pending', 'waiting', 'running', 'completed', 'failed', 'skipped',
                                                    'canceled')),
    attempt         integer NOT NULL,
    -- Why it was skipped, or what was said when it was decided by hand.
    reason          text,
    output          text,
    error_class     text,
    error           text,
    job_run_id      uuid,
    child_run_id    uuid,
    event_id        uuid,
    -- When somebody has to look at a waiting step; null = when it is told to.
    due_at          timestamptz CHECK (due_at IS NULL OR status = 'waiting'),
    started_at      timestamptz,
    finished_at     timestamptz,
    PRIMARY KEY (workflow_run_id, step)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE UNIQUE INDEX workflow_steps_job_run ON strait.workflow_steps (job_run_id) WHERE job_run_id IS NOT NULL;
CREATE UNIQUE INDEX workflow_steps_child ON strait.workflow_steps (child_run_id) WHERE child_run_id IS NOT NULL;
CREATE INDEX workflow_steps_due ON strait.workflow_steps (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX workflow_steps_event ON strait.workflow_steps (event_id) WHERE event_id IS NOT NULL AND status = 'waiting';

CREATE TABLE strait.workflow_run_history (
    id            uuid NOT NULL,
    root_id       uuid NOT NULL,
    workflow_id   uuid NOT NULL,
    project_id    text NOT NULL,
    version       integer NOT NULL,
    status        text NOT NULL CHECK (status IN ('completed', 'failed', 'timed_out', 'canceled', 'compensated',
                                                  'compensation_failed')),
    seq           integer NOT NULL,
    payload       text NOT NULL,
    tags          jsonb NOT NULL,
    labels        jsonb NOT NULL,
    disabled      smallint[] NOT NULL,
    has_failures  boolean NOT NULL,
    error_class   text,
    error         text,
    triggered_by  text NOT NULL,
    parent_run_id uuid,
    parent_step   smallint,
    depth         smallint NOT NULL,
    created_at    timestamptz NOT NULL,
    started_at    timestamptz,
    expires_at    timestamptz,
    finished_at   timestamptz NOT NULL,
    keep          text NOT NULL,
    PRIMARY KEY (id, keep, finished_at)
) PARTITION BY LIST (keep);
CREATE TABLE strait.workflow_run_history_short PARTITION OF strait.workflow_run_history FOR VALUES IN ('short')
    PARTITION BY RANGE (finished_at);
CREATE TABLE strait.workflow_run_history_long PARTITION OF strait.workflow_run_history FOR VALUES IN ('long')
    PARTITION BY RANGE (finished_at);
CREATE INDEX workflow_run_history_workflow ON strait.workflow_run_history (workflow_id, id);

CREATE TABLE strait.workflow_step_history (
    workflow_run_id uuid NOT NULL,
    step            smallint NOT NULL,
    status          text NOT NULL,
    attempt         integer NOT NULL,
    reason          text,
    output          text,
    error_class     text,
    error           text,
    job_run_id      uuid,
    child_run_id    uuid,
    event_id        uuid,
    started_at      timestamptz,
    finished_at     timestamptz,
    -- When the run ended; it goes with its run.
    ended_at        timestamptz NOT NULL,
    keep            text NOT NULL,
    PRIMARY KEY (workflow_run_id, step, keep, ended_at)
) PARTITION BY LIST (keep);
CREATE TABLE strait.workflow_step_history_short PARTITION OF strait.workflow_step_history FOR VALUES IN ('short')
    PARTITION BY RANGE (ended_at);
CREATE TABLE strait.workflow_step_history_long PARTITION OF strait.workflow_step_history FOR VALUES IN ('long')
    PARTITION BY RANGE (ended_at);

CREATE VIEW strait.all_workflow_runs AS
SELECT id, root_id, workflow_id, project_id, version, status, seq, payload, tags, labels, disabled, has_failures,
       error_class, error, triggered_by, parent_run_id, parent_step, depth, created_at, started_at, expires_at,
       NULL::timestamptz AS finished_at
FROM strait.workflow_runs
UNION ALL
SELECT id, root_id, workflow_id, project_id, version, status, seq, payload, tags, labels, disabled, has_failures,
       error_class, error, triggered_by, parent_run_id, parent_step, depth, created_at, started_at, expires_at,
       finished_at
FROM strait.workflow_run_history;

-- Who has to decide, and who has decided what.
CREATE TABLE strait.approvals (
    id              uuid PRIMARY KEY,
    workflow_run_id uuid NOT NULL,
    step            smallint NOT NULL,
    step_ref        text NOT NULL,
    workflow_id     uuid NOT NULL,
    project_id      text NOT NULL,
    status          text NOT NULL CHECK (status IN ('pending', 'approved', 'rejected', 'expired', 'canceled')),
    approvers       jsonb NOT NULL,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz,
    decided_at      timestamptz,
    decided_by      text,
    comment         text
);
CREATE UNIQUE INDEX approvals_open ON strait.approvals (workflow_run_id, step) WHERE status = 'pending';
CREATE INDEX approvals_pending ON strait.approvals (project_id, id) WHERE status = 'pending';
CREATE INDEX approvals_decided ON strait.approvals (decided_at) WHERE decided_at IS NOT NULL;

ALTER TABLE strait.runs
    -- The step that this run carries out; null for a run of its own. An ordinary ending passes such a run over: it ends
    -- in a transaction that holds the workflow run too.
    ADD COLUMN workflow_run_id uuid,
    ADD COLUMN step_ref text,
    ADD COLUMN step_index smallint,
    -- What the step says of the waits between attempts, in place of the job.
    ADD COLUMN retry_initial_secs integer,
    ADD COLUMN retry_max_secs integer;
ALTER TABLE strait.run_history
    ADD COLUMN workflow_run_id uuid,
    ADD COLUMN step_ref text;

CREATE OR REPLACE VIEW strait.all_runs AS
SELECT id, job_id, project_id, status, seq, attempt, attempt_base, max_attempts, priority, timeout_secs, job_version,
       retry_strategy, started_at, NULL::timestamptz AS finished_at, next_retry_at, created_at, scheduled_at,
       expires_at, batch_id, triggered_by, error_class, error, tags, metadata, payload, NULL::text AS result,
       false AS result_truncated, worker_id, idempotency_key,
       concurrency_key, parent_run_id, continuation_of, lineage_depth, fire_at, cost_microusd, warnings, progress,
       beat_at, workflow_run_id, step_ref
FROM strait.runs
UNION ALL
SELECT id, job_id, project_id, status, seq, attempt, attempt_base, max_attempts, priority, timeout_secs, job_version,
       retry_strategy, started_at, finished_at, NULL, created_at, scheduled_at,
       expires_at, batch_id, triggered_by, error_class, error, tags, metadata, payload, result,
       result_truncated, NULL, idempotency_key,
       concurrency_key, parent_run_id, continuation_of, lineage_depth, fire_at, cost_microusd, warnings, progress,
       NULL::timestamptz, workflow_run_id, step_ref
FROM strait.run_history;

-- How many runs and steps wait for an event.
CREATE FUNCTION strait.open_waits(event uuid) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT (SELECT count(*) FROM strait.waits w WHERE w.event_id = event AND w.outcome IS NULL)
    + (SELECT count(*) FROM strait.workflow_steps s WHERE s.event_id = event AND s.status = 'waiting')
$$;
