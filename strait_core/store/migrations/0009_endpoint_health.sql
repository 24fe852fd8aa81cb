-- What is known of endpoints: repeated errors, the fallback.

ALTER TABLE strait.runs
    -- What the last error of the endpoint looked like, and how often in a row it came; kept only for jobs that ask.
    ADD COLUMN error_fingerprint bigint,
    ADD COLUMN error_streak smallint;

-- Why the attempt went to the fallback (null = it did not).
ALTER TABLE strait.attempts ADD COLUMN fallback text;

-- Breakers that have something to say: a failure was counted, or runs are held. Only failures, what undoes them and the
-- passing of time write here. `key` is made of project, endpoint and fallback, see strait_core/breaker.py.
CREATE TABLE strait.breakers (
    key         uuid PRIMARY KEY,
    state       text NOT NULL CHECK (state IN ('closed', 'open', 'probing', 'recovering')),
    failures    integer NOT NULL,
    changed_at  timestamptz NOT NULL,
    open_until  timestamptz,
    -- How many runs may start now (null = any number); each claim takes its own off.
    allowance   integer CHECK (allowance >= 0),
    step        smallint NOT NULL,
    looked_at   timestamptz NOT NULL,
    -- The claim that was let through to see whether the endpoint is well.
    probe_run   uuid,
    probe_lease bigint
) WITH (fillfactor = 50);

-- The breaker of the job's newest version; null when it wants none.
ALTER TABLE strait.jobs ADD COLUMN breaker uuid;
UPDATE strait.jobs SET breaker = encode(substr(sha256(convert_to(concat_ws(E'\n', project_id,
    definition::json ->> 'endpoint_url', coalesce(definition::json ->> 'fallback_endpoint_url', '')), 'UTF8')), 1, 16),
    'hex')::uuid;
CREATE INDEX jobs_breaker ON strait.jobs (breaker) WHERE breaker IS NOT NULL AND deleted_at IS NULL;

-- A breaker closes the gates of all its jobs, or lets `breaker_allowance` of their runs through (null = any number).
CREATE OR REPLACE VIEW strait.job_gates AS
SELECT j.id AS job_id, j.project_id, j.lane, j.own_lane,
       j.deleted_at IS NOT NULL OR (j.enabled AND NOT j.paused AND b.allowance IS DISTINCT FROM 0) AS is_open,
       CASE WHEN j.deleted_at IS NOT NULL THEN NULL
            WHEN NOT j.enabled THEN 'disabled'
            WHEN j.paused THEN 'paused'
            WHEN b.allowance = 0 THEN 'breaker' END AS reason,
       CASE WHEN b.allowance IS NOT NULL AND j.deleted_at IS NULL THEN b.key END AS breaker,
       b.allowance AS breaker_allowance,
       -- Until when nothing may start; null when that hangs on the answer of the one run that was let through.
       CASE WHEN b.state = 'open' THEN b.open_until END AS breaker_until
FROM strait.jobs j LEFT JOIN strait.breakers b ON b.key = j.breaker;
