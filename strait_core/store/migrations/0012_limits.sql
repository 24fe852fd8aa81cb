-- Hard limits of jobs: how many attempts may be live at once, in all and for each key, and how many may start in a time.
--
-- A slot is no row and no counter of its own: a run holds one while `slot_lane` names the lane it was claimed from. So a
-- slot cannot outlive its attempt: what ends or gives back the attempt ends it with the same row version. A claim counts
-- the slots of a job while it holds the job's row, so no other claim of that job counts meanwhile.

ALTER TABLE strait.jobs
    ADD COLUMN max_concurrency integer,
    ADD COLUMN max_concurrency_per_key integer,
    ADD COLUMN rate_limit_max integer,
    ADD COLUMN rate_limit_window_secs integer,
    -- Whether a claim has to hold this row to count.
    ADD COLUMN is_limited boolean GENERATED ALWAYS AS (max_concurrency IS NOT NULL OR max_concurrency_per_key IS NOT NULL
        OR rate_limit_max IS NOT NULL) STORED,
    -- Since when the attempts that were live when the job got its first limit wait for slots; null = all have one.
    ADD COLUMN unsettled_at timestamptz;

-- Null for a run that was claimed from lane 0, so the moves of plain runs stay heap-only updates.
ALTER TABLE strait.runs
    ADD COLUMN slot_lane bigint CHECK (slot_lane IS NULL OR status IN ('dequeued', 'executing'));
CREATE INDEX runs_slots ON strait.runs (slot_lane, concurrency_key) WHERE slot_lane IS NOT NULL;

-- What moves with the attempts of a gated job.
CREATE TABLE strait.lane_state (
    lane     bigint PRIMARY KEY,
    -- When the last slot was freed, by the clock of who freed it: no attempt that takes a slot begins earlier.
    freed_at timestamptz
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

-- The token bucket of a job with a rate limit: when it was empty, or would have been. Only a claim that holds the job
-- writes it. Null, or no row: the bucket is full.
CREATE TABLE strait.lane_rates (
    lane    bigint PRIMARY KEY,
    zero_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

-- Queued runs whose key is full: out of the ready order until somebody frees a slot of the key. They keep their place.
CREATE TABLE strait.parked (
    run_id    uuid PRIMARY KEY,
    lane      bigint NOT NULL,
    job_id    uuid NOT NULL,
    key       text NOT NULL,
    priority  smallint NOT NULL,
    ready_seq bigint NOT NULL,
    ready_at  timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX parked_order ON strait.parked (lane, key, priority DESC, ready_seq);

-- How long a bucket takes to gain so many tokens, rounded up to the microsecond: no token comes early.
CREATE FUNCTION strait.token_time(most integer, window_secs integer, tokens bigint) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT ceil(tokens * window_secs * 1000000::numeric / most)::bigint * interval '1 microsecond'
$$;

-- Whole tokens in a bucket of that size, refilled evenly over the window, which was empty at `zero_at`.
CREATE FUNCTION strait.tokens(most integer, window_secs integer, zero_at timestamptz, at timestamptz) RETURNS integer
LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT CASE WHEN zero_at IS NULL THEN most ELSE
    least(floor(extract(epoch FROM at - zero_at)::numeric * most / window_secs), most)::integer END
$$;

-- Everything that can keep a job's runs from starting, each as how many may start now: null = it does not limit this
-- job, 0 or less = none. Who adds a limit adds a column here and names it in `job_gates`. A job is deleted only when none
-- of its runs is active, so a run of a deleted job was accepted just before: nobody could open its gate again, so it is
-- open. `is_limited`: a claim has to hold the job's row to count. `breaker`: it lets only some runs through.
CREATE FUNCTION strait.job_limits(at timestamptz)
RETURNS TABLE (job_id uuid, project_id text, lane bigint, own_lane bigint, is_limited boolean,
    disabled integer, paused integer, closed integer, broken integer, concurrency integer, rate integer,
    rate_at timestamptz, window_at timestamptz, breaker uuid, breaker_at timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT j.id, j.project_id, j.lane, j.own_lane, j.is_limited,
    CASE WHEN j.deleted_at IS NULL AND NOT j.enabled THEN 0 END,
    CASE WHEN j.deleted_at IS NULL AND j.paused THEN 0 END,
    CASE WHEN j.deleted_at IS NULL AND NOT (j.open_from <= at AND at < j.open_until) THEN 0 END,
    CASE WHEN j.deleted_at IS NULL THEN b.allowance END,
    CASE WHEN j.deleted_at IS NULL AND j.max_concurrency IS NOT NULL THEN j.max_concurrency
        - (SELECT count(*) FROM strait.runs r WHERE r.slot_lane = j.own_lane)::integer END,
    CASE WHEN j.deleted_at IS NULL AND j.rate_limit_max IS NOT NULL THEN strait.tokens(j.rate_limit_max,
        j.rate_limit_window_secs, (SELECT t.zero_at FROM strait.lane_rates t WHERE t.lane = j.own_lane), at) END,
    (SELECT t.zero_at FROM strait.lane_rates t WHERE t.lane = j.own_lane)
        + strait.token_time(j.rate_limit_max, j.rate_limit_window_secs, 1),
    CASE WHEN j.open_from > at THEN j.open_from END,
    CASE WHEN j.deleted_at IS NULL AND b.allowance IS NOT NULL THEN b.key END,
    -- Null while that hangs on the answer of the one run that was let through.
    CASE WHEN b.state = 'open' THEN b.open_until END
FROM strait.jobs j LEFT JOIN strait.breakers b ON b.key = j.breaker
$$;

-- What keeps a job's runs from starting at this instant. Claim, statistics and explain read the same rows.
-- `allowance`: how many more may start now, the least of all limits; null = no limit. `until_at`: when the gate opens by
-- itself; null = that is up to somebody or something else.
DROP VIEW strait.job_gates;
CREATE FUNCTION strait.job_gates(at timestamptz)
RETURNS TABLE (job_id uuid, project_id text, lane bigint, own_lane bigint, is_limited boolean,
    is_open boolean, reason text, until_at timestamptz, allowance integer, breaker uuid)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT l.job_id, l.project_id, l.lane, l.own_lane, l.is_limited,
    coalesce(least(l.disabled, l.paused, l.closed, l.broken, l.concurrency, l.rate) > 0, true),
    CASE WHEN l.disabled <= 0 THEN 'disabled'
        WHEN l.paused <= 0 THEN 'paused'
        WHEN l.closed <= 0 THEN 'window'
        WHEN l.broken <= 0 THEN 'breaker'
        WHEN l.concurrency <= 0 THEN 'concurrency'
        WHEN l.rate <= 0 THEN 'rate' END,
    CASE WHEN l.disabled <= 0 OR l.paused <= 0 THEN NULL
        WHEN l.closed <= 0 THEN l.window_at
        WHEN l.broken <= 0 THEN l.breaker_at
        WHEN l.concurrency <= 0 THEN NULL
        WHEN l.rate <= 0 THEN l.rate_at END,
    least(l.disabled, l.paused, l.closed, l.broken, l.concurrency, l.rate), l.breaker
FROM strait.job_limits(at) l
$$;
