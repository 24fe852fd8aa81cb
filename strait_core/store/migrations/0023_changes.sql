-- The feed of changes. What a writer's batch has moved stands in the delta that the batch appends anyway; who folds the
-- deltas copies it into `changes`, where it has a position. A batch stays one row on its whole way.

ALTER TABLE strait.stats_deltas
    -- Of what kind the objects are; null = runs.
    ADD COLUMN kind       text CHECK (kind IN ('job', 'workflow_run', 'event')),
    -- Null of runs, whose jobs tell it.
    ADD COLUMN project_id text,
    -- The objects that changed; null when the delta only counts. Beside them the job of each run (the workflow of each
    -- workflow run), its seq, attempt and status after the change: one for each object, or one for all of them.
    ADD COLUMN ids        uuid[],
    ADD COLUMN owners     uuid[],
    ADD COLUMN seqs       integer[],
    ADD COLUMN attempts   integer[],
    ADD COLUMN statuses   text[];

CREATE SEQUENCE strait.change_positions AS bigint;
CREATE TABLE strait.changes (
    -- Grows with each row, and a row is never visible before one with a lower position.
    position   bigint NOT NULL,
    -- When it was copied, by which it is partitioned; and when the change was made.
    made_at    timestamptz NOT NULL,
    at         timestamptz NOT NULL,
    kind       text NOT NULL,
    project_id text,
    ids        uuid[] NOT NULL,
    owners     uuid[],
    seqs       integer[] NOT NULL,
    attempts   integer[],
    statuses   text[] NOT NULL,
    PRIMARY KEY (position, made_at)
) PARTITION BY RANGE (made_at);

-- One row: the highest position that is not kept any more.
CREATE TABLE strait.change_floor (
    one      boolean PRIMARY KEY CHECK (one),
    position bigint NOT NULL
);
INSERT INTO strait.change_floor (one, position) VALUES (true, 0);

-- Where changes are sent on to, and how far they have got.
CREATE TABLE strait.change_sinks (
    name     text PRIMARY KEY,
    position bigint NOT NULL,
    entry    integer NOT NULL
);
