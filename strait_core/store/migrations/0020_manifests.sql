-- Which manifest has applied a job, a workflow or a calendar last: what it may prune.
CREATE TABLE strait.manifest_objects (
    object_id  uuid PRIMARY KEY,
    project_id text NOT NULL,
    manifest   text NOT NULL,
    kind       text NOT NULL,
    applied_at timestamptz NOT NULL
);
CREATE INDEX manifest_objects_of ON strait.manifest_objects (project_id, manifest);
