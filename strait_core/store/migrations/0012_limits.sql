-- Hard limits of jobs: how many attempts may be live at once.
--
-- A slot is no row and no counter of its own: a run holds one while `slot_lane` names the lane it was claimed from. So a
-- slot cannot outlive its attempt: what ends or gives back the attempt ends it with the same row version. A claim counts
-- the slots of a job while it holds the job's row, so no other claim of that job counts meanwhile.

ALTER TABLE strait.jobs
    ADD COLUMN max_concurrency integer,
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

-- Everything that can keep a job's runs from starting, each as how many may start now: null = it does not limit this
-- job, 0 or less = none. Who adds a limit adds a column here and names it in `job_gates`. A job is deleted only when none
-- of its runs is active, so a run of a deleted job was accepted just before: nobody could open its gate again, so it is
-- open. `is_limited`: a claim has to hold the job's row to count. `breaker`: it lets only some runs through.
CREATE FUNCTION strait.job_limits(at timestamptz)
RETURNS TABLE (job_id uuid, project_id text, lane bigint, own_lane bigint, is_limited boolean,
    disabled integer, paused integer, closed integer, broken integer, concurrency integer,
    window_at timestamptz, breaker uuid, breaker_at timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT j.id, j.project_id, j.lane, j.own_lane, j.max_concurrency IS NOT NULL,
    CASE WHEN j.deleted_at IS NULL AND NOT j.enabled THEN 0 END,
    CASE WHEN j.deleted_at IS NULL AND j.paused THEN 0 END,
    CASE WHEN j.deleted_at IS NULL AND NOT (j.open_from <= at AND at < j.open_until) THEN 0 END,
    CASE WHEN j.deleted_at IS NULL THEN b.allowance END,
    CASE WHEN j.deleted_at IS NULL AND j.max_concurrency IS NOT NULL THEN j.max_concurrency
        - (SELECT count(*) FROM strait.runs r WHERE r.slot_lane = j.own_lane)::integer END,
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
    coalesce(least(l.disabled, l.paused, l.closed, l.broken, l.concurrency) > 0, true),
    CASE WHEN l.disabled <= 0 THEN 'disabled'
        WHEN l.paused <= 0 THEN 'paused'
        WHEN l.closed <= 0 THEN 'window'
        WHEN l.broken <= 0 THEN 'breaker'
        WHEN l.concurrency <= 0 THEN 'concurrency' END,
    CASE WHEN l.disabled <= 0 OR l.paused <= 0 THEN NULL
        WHEN l.closed <= 0 THEN l.window_at
        WHEN l.broken <= 0 THEN l.breaker_at END,
    least(l.disabled, l.paused, l.closed, l.broken, l.concurrency), l.breaker
FROM strait.job_limits(at) l
$$;
