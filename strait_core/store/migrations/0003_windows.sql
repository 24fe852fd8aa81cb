-- Where triggers meet: the last run of each body (dedup), and the run that still gathers triggers (debounce, batch).

CREATE TABLE strait.trigger_windows (
    job_id   uuid NOT NULL,
    kind     text NOT NULL CHECK (kind IN ('dedup', 'debounce', 'batch')),
    -- The hash of the payload, or the trigger's own debounce_key or batch_key ('' without one).
    key      text NOT NULL,
    -- Null: nothing is known, or the run gathers no more.
    run_id   uuid,
    first_at timestamptz NOT NULL,
    -- After this the row means nothing.
    until_at timestamptz NOT NULL,
    items    integer NOT NULL,
    bytes    integer NOT NULL,
    PRIMARY KEY (job_id, kind, key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX trigger_windows_until ON strait.trigger_windows (until_at);
