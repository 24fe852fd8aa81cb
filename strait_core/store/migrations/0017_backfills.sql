-- Backfills: an interval of a schedule that is fired again, some runs at a time.
CREATE TABLE strait.backfills (
    id              uuid PRIMARY KEY,
    schedule_id     uuid NOT NULL,
    from_at         timestamptz NOT NULL,
    to_at           timestamptz NOT NULL,
    -- How many of its runs may be active at once.
    max_concurrency integer NOT NULL,
    -- How many runs it is to make, how many it has made, and how these have ended.
    fires           integer NOT NULL,
    made            integer NOT NULL,
    completed       integer NOT NULL,
    unsuccessful    integer NOT NULL,
    created_at      timestamptz NOT NULL,
    -- When to look next; null: it is over.
    due_at          timestamptz,
    ended_at        timestamptz,
    stopped         boolean NOT NULL,
    CHECK ((due_at IS NULL) = (ended_at IS NOT NULL))
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX backfills_open ON strait.backfills (schedule_id) WHERE ended_at IS NULL;
CREATE INDEX backfills_due ON strait.backfills (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX backfills_newest ON strait.backfills (schedule_id, id);

-- The ticks of backfills, each at most once however often its interval is fired again: first to be made (no run yet),
-- then active (no outcome yet), then over.
CREATE TABLE strait.backfill_fires (
    schedule_id uuid NOT NULL,
    fire_at     timestamptz NOT NULL,
    backfill_id uuid NOT NULL,
    run_id      uuid,
    made_at     timestamptz,
    outcome     text,
    PRIMARY KEY (schedule_id, fire_at),
    CHECK ((run_id IS NULL) = (made_at IS NULL)),
    CHECK (outcome IS NULL OR run_id IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX backfill_fires_open ON strait.backfill_fires (backfill_id, fire_at) WHERE outcome IS NULL;
