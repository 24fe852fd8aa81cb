-- Events, what runs wait for, and the two marks by which an ordinary ending knows that there is more to do.

CREATE TABLE strait.events (
    id         uuid PRIMARY KEY,
    project_id text NOT NULL,
    -- In the order of code points, so that a prefix is a range.
    key        text COLLATE "C" NOT NULL,
    status     text NOT NULL CHECK (status IN ('waiting', 'received', 'canceled')),
    -- The key stands for this row no more: it was canceled, or came more than a day ago.
    retired    boolean NOT NULL,
    payload    text,
    -- Of the payload, canonically: the same key with another hash is another event.
    body_hash  text,
    -- How many waits it has ended.
    delivered  integer NOT NULL,
    created_at timestamptz NOT NULL,
    sent_at    timestamptz,
    -- Until when whoever begins to wait gets it; null until it was sent.
    expires_at timestamptz,
    -- When a service looks whether anybody needs the row still.
    look_at    timestamptz NOT NULL,
    CHECK ((status = 'received') = (payload IS NOT NULL)),
    CHECK ((payload IS NULL) = (sent_at IS NULL)),
    CHECK ((payload IS NULL) = (expires_at IS NULL)),
    CHECK (status <> 'canceled' OR retired)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE UNIQUE INDEX events_live ON strait.events (project_id, key) WHERE NOT retired;
CREATE INDEX events_key ON strait.events (key, project_id, id);
CREATE INDEX events_look ON strait.events (look_at);

-- One thing that a run waits for, or has waited for: an event or the end of another run. The rows of a run go with it.
CREATE TABLE strait.waits (
    id         uuid PRIMARY KEY,
    run_id     uuid NOT NULL,
    -- The attempt that recorded it; any other ending than a success drops it.
    attempt    integer NOT NULL,
    event_id   uuid,
    child_id   uuid,
    created_at timestamptz NOT NULL,
    -- Until when an event is waited for; a run is waited for until it has ended.
    due_at     timestamptz,
    -- Null while it is open; then `received` or `canceled` for an event, for a run the state it ended in.
    outcome    text,
    settled_at timestamptz,
    -- Settled, and nobody has looked yet whether its run may go on.
    ripe       boolean NOT NULL,
    CHECK ((event_id IS NULL) <> (child_id IS NULL)),
    CHECK ((event_id IS NULL) = (due_at IS NULL)),
    CHECK ((outcome IS NULL) = (settled_at IS NULL)),
    CHECK (NOT ripe OR outcome IS NOT NULL)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE UNIQUE INDEX waits_run_event ON strait.waits (run_id, event_id) WHERE event_id IS NOT NULL;
CREATE UNIQUE INDEX waits_run_child ON strait.waits (run_id, child_id) WHERE child_id IS NOT NULL;
CREATE INDEX waits_event ON strait.waits (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX waits_child ON strait.waits (child_id) WHERE outcome IS NULL;
CREATE INDEX waits_due ON strait.waits (due_at) WHERE outcome IS NULL;
CREATE INDEX waits_ripe ON strait.waits (run_id) WHERE ripe;

ALTER TABLE strait.runs
    -- It has rows in `waits`: how its attempt ends is for them to say. Null otherwise.
    ADD COLUMN waits boolean,
    -- Another run waits for its end. Null otherwise.
    ADD COLUMN awaited boolean;

-- Who descends from a run.
CREATE INDEX runs_parent ON strait.runs (parent_run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX runs_continued ON strait.runs (continuation_of) WHERE continuation_of IS NOT NULL;
CREATE INDEX run_history_parent ON strait.run_history (parent_run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX run_history_continued ON strait.run_history (continuation_of) WHERE continuation_of IS NOT NULL;
