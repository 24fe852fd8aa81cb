-- The spine: jobs and their versions, the active runs, the ready order, what is due later, history, workers, statistics.
--
-- A run is one row of `runs` until it ends; the statement that ends it moves it to `run_history`. While it is live, its
-- present attempt stands on the run row itself; the attempt becomes a row of `attempts` when it is closed.
-- No column default reads a clock: every time is given by the program.

CREATE TABLE strait.jobs (
    id           uuid PRIMARY KEY,
    project_id   text NOT NULL,
    slug         text NOT NULL,
    -- Where new entries of the ready order go: 0 for a job that nothing gates, else the job's own lane.
    lane         bigint NOT NULL,
    own_lane     bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    enabled      boolean NOT NULL,
    paused       boolean NOT NULL,
    paused_at    timestamptz,
    pause_reason text,
    -- Whether waiting runs follow the newest version (version_policy = latest).
    latest       boolean NOT NULL,
    tags         jsonb NOT NULL,
    version      integer NOT NULL,
    version_id   uuid NOT NULL,
    definition   text NOT NULL,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    deleted_at   timestamptz,
    CHECK (lane IN (0, own_lane))
);
CREATE UNIQUE INDEX jobs_slug ON strait.jobs (slug, project_id) WHERE deleted_at IS NULL;
CREATE INDEX jobs_project ON strait.jobs (project_id, id) WHERE deleted_at IS NULL;

CREATE TABLE strait.job_versions (
    job_id     uuid NOT NULL REFERENCES strait.jobs (id),
    version    integer NOT NULL,
    version_id uuid NOT NULL,
    definition text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (job_id, version)
);

-- No index here names a column that a claim or a start writes, so both are heap-only updates.
CREATE TABLE strait.runs (
    id             uuid PRIMARY KEY,
    job_id         uuid NOT NULL,
    project_id     text NOT NULL,
    status         text NOT NULL CHECK (status IN ('delayed', 'queued', 'dequeued', 'executing', 'waiting')),
    seq            integer NOT NULL,
    attempt        integer NOT NULL,
    attempt_base   integer NOT NULL,
    max_attempts   integer NOT NULL,
    priority       smallint NOT NULL,
    timeout_secs   integer NOT NULL,
    job_version    integer NOT NULL,
    retry_strategy text,
    lease          bigint,
    worker_id      uuid,
    claimed_at     timestamptz,
    started_at     timestamptz,
    ready_seq      bigint,
    ready_at       timestamptz,
    next_retry_at  timestamptz,
    created_at     timestamptz NOT NULL,
    scheduled_at   timestamptz,
    expires_at     timestamptz,
    batch_id       uuid,
    triggered_by   text NOT NULL,
    error_class    text,
    error          text,
    tags           jsonb NOT NULL,
    metadata       jsonb NOT NULL,
    payload        text NOT NULL
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX runs_job ON strait.runs (job_id, id);
CREATE INDEX runs_expiry ON strait.runs (expires_at) WHERE expires_at IS NOT NULL;

CREATE SEQUENCE strait.leases;
CREATE SEQUENCE strait.ready_seqs;

-- The ready order: queued runs whose own time has come. A claim deletes entries; whatever queues a run again adds one.
CREATE TABLE strait.ready (
    lane      bigint NOT NULL,
    priority  smallint NOT NULL,
    ready_seq bigint NOT NULL,
    run_id    uuid NOT NULL,
    job_id    uuid NOT NULL,
    ready_at  timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE UNIQUE INDEX ready_order ON strait.ready (lane, priority DESC, ready_seq);

-- Delayed runs and retries that wait for their time.
CREATE TABLE strait.due (
    run_id uuid PRIMARY KEY,
    due_at timestamptz NOT NULL,
    -- Whether the run waits as `delayed` (its promotion is a move) or as `queued` (it awaits a retry).
    moves  boolean NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX due_order ON strait.due (due_at);

CREATE TABLE strait.run_history (
    id               uuid NOT NULL,
    job_id           uuid NOT NULL,
    project_id       text NOT NULL,
    status           text NOT NULL CHECK (status IN ('completed', 'failed', 'timed_out', 'crashed', 'system_failed',
                                                     'canceled', 'expired', 'dead_letter')),
    seq              integer NOT NULL,
    attempt          integer NOT NULL,
    attempt_base     integer NOT NULL,
    max_attempts     integer NOT NULL,
    priority         smallint NOT NULL,
    timeout_secs     integer NOT NULL,
    job_version      integer NOT NULL,
    retry_strategy   text,
    started_at       timestamptz,
    finished_at      timestamptz NOT NULL,
    created_at       timestamptz NOT NULL,
    scheduled_at     timestamptz,
    expires_at       timestamptz,
    batch_id         uuid,
    triggered_by     text NOT NULL,
    error_class      text,
    error            text,
    tags             jsonb NOT NULL,
    metadata         jsonb NOT NULL,
    payload          text NOT NULL,
    result           text,
    result_truncated boolean NOT NULL,
    -- The retention class: 'short' or 'long'.
    keep             text NOT NULL,
    PRIMARY KEY (id, keep, finished_at)
) PARTITION BY LIST (keep);
CREATE TABLE strait.run_history_short PARTITION OF strait.run_history FOR VALUES IN ('short')
    PARTITION BY RANGE (finished_at);
CREATE TABLE strait.run_history_long PARTITION OF strait.run_history FOR VALUES IN ('long')
    PARTITION BY RANGE (finished_at);
CREATE INDEX run_history_job ON strait.run_history (job_id, id);

CREATE TABLE strait.attempts (
    run_id        uuid NOT NULL,
    number        integer NOT NULL,
    -- The run's seq after the move that closed the attempt.
    seq           integer NOT NULL,
    outcome       text NOT NULL,
    worker_id     uuid,
    lease         bigint,
    claimed_at    timestamptz,
    started_at    timestamptz NOT NULL,
    finished_at   timestamptz NOT NULL,
    http_status   integer,
    error_class   text,
    error         text,
    queue_wait_ms real,
    connect_ms    real,
    ttfb_ms       real,
    transfer_ms   real,
    total_ms      real,
    keep          text NOT NULL
) PARTITION BY LIST (keep);
CREATE TABLE strait.attempts_short PARTITION OF strait.attempts FOR VALUES IN ('short')
    PARTITION BY RANGE (finished_at);
CREATE TABLE strait.attempts_long PARTITION OF strait.attempts FOR VALUES IN ('long')
    PARTITION BY RANGE (finished_at);
CREATE INDEX attempts_run ON strait.attempts (run_id, number);

-- Rare moves of a run (cancel, replay, reschedule, expire, release, reap); ordinary ones follow from the attempts.
CREATE TABLE strait.run_events (
    run_id  uuid NOT NULL,
    seq     integer NOT NULL,
    event   text NOT NULL,
    status  text NOT NULL,
    attempt integer NOT NULL,
    at      timestamptz NOT NULL,
    reason  text,
    keep    text NOT NULL
) PARTITION BY LIST (keep);
CREATE TABLE strait.run_events_short PARTITION OF strait.run_events FOR VALUES IN ('short') PARTITION BY RANGE (at);
CREATE TABLE strait.run_events_long PARTITION OF strait.run_events FOR VALUES IN ('long') PARTITION BY RANGE (at);
CREATE INDEX run_events_run ON strait.run_events (run_id, seq);

CREATE TABLE strait.workers (
    id           uuid PRIMARY KEY,
    host         text NOT NULL,
    pid          integer NOT NULL,
    mode         text NOT NULL,
    version      text NOT NULL,
    slots        integer NOT NULL,
    in_flight    integer NOT NULL,
    draining     boolean NOT NULL,
    started_at   timestamptz NOT NULL,
    heartbeat_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Statistics: each batch of moves appends one row, a service folds the rows into the counts every second.
-- `moves` is a list of [project_id, job_id, from, to, count]; from is '' for a new run, to is '' for one forgotten.
CREATE TABLE strait.stats_deltas (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at    timestamptz NOT NULL,
    moves jsonb NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE TABLE strait.stats_depth (
    project_id text NOT NULL,
    status     text NOT NULL,
    runs       bigint NOT NULL,
    PRIMARY KEY (project_id, status)
) WITH (fillfactor = 50);
CREATE TABLE strait.stats_jobs (
    job_id     uuid PRIMARY KEY,
    project_id text NOT NULL,
    queued     bigint NOT NULL,
    executing  bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE strait.stats_rates (
    project_id text NOT NULL,
    bucket     timestamptz NOT NULL,
    created    bigint NOT NULL,
    finished   bigint NOT NULL,
    PRIMARY KEY (project_id, bucket)
) WITH (fillfactor = 50);

-- What keeps a job's runs from starting. Claim and explain read the same rows. A job is deleted only when none of its
-- runs is active, so a run of a deleted job was accepted just before: nobody could open its gate again, so it is open.
CREATE VIEW strait.job_gates AS
SELECT j.id AS job_id, j.project_id, j.lane, j.own_lane,
       j.deleted_at IS NOT NULL OR (j.enabled AND NOT j.paused) AS is_open,
       CASE WHEN j.deleted_at IS NOT NULL THEN NULL
            WHEN NOT j.enabled THEN 'disabled'
            WHEN j.paused THEN 'paused' END AS reason
FROM strait.jobs j;

-- Every run, wherever it stands; `finished_at` is null while it is active.
CREATE VIEW strait.all_runs AS
SELECT id, job_id, project_id, status, seq, attempt, attempt_base, max_attempts, priority, timeout_secs, job_version,
       retry_strategy, started_at, NULL::timestamptz AS finished_at, next_retry_at, created_at, scheduled_at,
       expires_at, batch_id, triggered_by, error_class, error, tags, metadata, payload, NULL::text AS result,
       false AS result_truncated, worker_id
FROM strait.runs
UNION ALL
SELECT id, job_id, project_id, status, seq, attempt, attempt_base, max_attempts, priority, timeout_secs, job_version,
       retry_strategy, started_at, finished_at, NULL, created_at, scheduled_at,
       expires_at, batch_id, triggered_by, error_class, error, tags, metadata, payload, result,
       result_truncated, NULL
FROM strait.run_history;
