-- Schedules: what fires when, what every tick came to, and the calendars they go by.

CREATE TABLE strait.schedules (
    id           uuid PRIMARY KEY,
    -- What it fires: a job.
    kind         text NOT NULL CHECK (kind IN ('job')),
    target_id    uuid NOT NULL UNIQUE REFERENCES strait.jobs (id),
    -- The first tick that has not been decided; null: there is none, or it does not fire now (paused, disabled).
    next_fire_at timestamptz,
    -- A tick that waits for the run before it (overlap_policy = queue_one).
    held_fire_at timestamptz,
    -- When somebody has to look: the tick with its jitter, or sooner for what is held or missed.
    due_at       timestamptz,
    paused       boolean NOT NULL,
    paused_at    timestamptz,
    pause_reason text,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX schedules_due ON strait.schedules (due_at) WHERE due_at IS NOT NULL;

-- One row for each tick that was decided: the run it made, or why it made none. Ticks that are passed over for the same
-- reason one after the other share a row: `ticks` of them, from `first_fire_at` to `fire_at`.
CREATE TABLE strait.schedule_fires (
    schedule_id   uuid NOT NULL,
    fire_at       timestamptz NOT NULL,
    decided_at    timestamptz NOT NULL,
    triggered_by  text NOT NULL,
    run_id        uuid,
    skipped       text,
    ticks         integer NOT NULL,
    first_fire_at timestamptz NOT NULL,
    keep          text NOT NULL,
    PRIMARY KEY (schedule_id, fire_at, keep),
    CHECK ((run_id IS NULL) = (skipped IS NOT NULL))
) PARTITION BY LIST (keep);
CREATE TABLE strait.schedule_fires_short PARTITION OF strait.schedule_fires FOR VALUES IN ('short')
    PARTITION BY RANGE (fire_at);
CREATE TABLE strait.schedule_fires_long PARTITION OF strait.schedule_fires FOR VALUES IN ('long')
    PARTITION BY RANGE (fire_at);

-- Named sets of days that schedules fire on, or do not.
CREATE TABLE strait.calendars (
    id         uuid PRIMARY KEY,
    project_id text NOT NULL,
    slug       text NOT NULL,
    definition text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX calendars_slug ON strait.calendars (slug, project_id);
ALTER TABLE strait.schedules ADD COLUMN calendar_id uuid REFERENCES strait.calendars (id);
CREATE INDEX schedules_calendar ON strait.schedules (calendar_id) WHERE calendar_id IS NOT NULL;
