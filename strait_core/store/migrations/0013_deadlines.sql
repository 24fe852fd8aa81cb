-- Deadlines of schedules that somebody has to look at, and those that were broken.

-- One row for each deadline that may still be broken: of a tick until it has passed, of the next success as long as the
-- schedule fires. Whoever looks at one that is due takes it away or moves it on, so this stays small however long the
-- history.
CREATE TABLE strait.deadlines (
    schedule_id uuid NOT NULL,
    deadline    text NOT NULL CHECK (deadline IN ('start_within_secs', 'finish_within_secs', 'expect_every_secs')),
    -- From when on it counts: the tick, or the last success (before any: when the schedule began to fire).
    since       timestamptz NOT NULL,
    -- When to look: never later than it could be broken.
    due_at      timestamptz NOT NULL,
    PRIMARY KEY (schedule_id, deadline, since)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX deadlines_due ON strait.deadlines (due_at);
CREATE UNIQUE INDEX deadlines_success ON strait.deadlines (schedule_id) WHERE deadline = 'expect_every_secs';

-- Deadlines that were broken, each once, whoever found it.
CREATE TABLE strait.breaches (
    id          uuid NOT NULL UNIQUE,
    schedule_id uuid NOT NULL,
    project_id  text NOT NULL,
    deadline    text NOT NULL,
    since       timestamptz NOT NULL,
    -- Until when it would have been kept.
    limit_at    timestamptz NOT NULL,
    found_at    timestamptz NOT NULL,
    -- The tick's run; null when it had none yet, or when no success came.
    run_id      uuid,
    PRIMARY KEY (schedule_id, since, deadline)
);
CREATE INDEX breaches_newest ON strait.breaches (schedule_id, id);
CREATE INDEX breaches_found ON strait.breaches (found_at);

-- What a delivery tells that is about a breach and not about the end of a run: the breach, as JSON.
ALTER TABLE strait.webhook_deliveries ADD COLUMN alert text;
