-- Named rate limits: buckets of tokens for each value that a template makes of a run, and the runs that wait for a token.

ALTER TABLE strait.jobs ADD COLUMN rate_limit_keys jsonb;
ALTER TABLE strait.jobs DROP COLUMN is_limited;
ALTER TABLE strait.jobs
    ADD COLUMN is_limited boolean GENERATED ALWAYS AS (max_concurrency IS NOT NULL OR max_concurrency_per_key IS NOT NULL
        OR rate_limit_max IS NOT NULL OR rate_limit_keys IS NOT NULL) STORED;

-- The tokens for one key of one named limit. No row: the bucket is full. Only a claim that holds the job takes tokens;
-- the same claim says, by `wake_at`, when to look after the runs that it has parked here: none is parked while it is null.
CREATE TABLE strait.rate_buckets (
    lane    bigint NOT NULL,
    name    text NOT NULL,
    key     text NOT NULL,
    -- When the bucket was empty, or would have been.
    zero_at timestamptz NOT NULL,
    wake_at timestamptz,
    -- From when on it is full whatever happens, in whole minutes, so that a start seldom changes it: then the row says
    -- nothing any more.
    idle_at timestamptz NOT NULL,
    PRIMARY KEY (lane, name, key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX rate_buckets_wake ON strait.rate_buckets (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX rate_buckets_idle ON strait.rate_buckets (idle_at);

-- The named limit that a parked run waits for; null = it waits for a slot of its concurrency key.
ALTER TABLE strait.parked ADD COLUMN rate text;
DROP INDEX strait.parked_order;
CREATE INDEX parked_order ON strait.parked (lane, key, priority DESC, ready_seq) WHERE rate IS NULL;
CREATE INDEX parked_rates ON strait.parked (lane, rate, key, priority DESC, ready_seq) WHERE rate IS NOT NULL;
