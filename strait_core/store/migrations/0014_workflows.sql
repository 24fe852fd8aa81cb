-- Workflows: definitions, their immutable versions, and what they refer to. What runs of them need comes with those.
-- `definition` is a workflow without its steps, so that lists need not read those.

CREATE TABLE strait.workflows (
    id                  uuid PRIMARY KEY,
    project_id          text NOT NULL,
    slug                text NOT NULL,
    enabled             boolean NOT NULL,
    paused              boolean NOT NULL,
    paused_at           timestamptz,
    pause_reason        text,
    tags                jsonb NOT NULL,
    version             integer NOT NULL,
    version_id          uuid NOT NULL,
    definition          text NOT NULL,
    steps               text NOT NULL,
    step_count          integer NOT NULL,
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    deleted_at          timestamptz
);
CREATE UNIQUE INDEX workflows_slug ON strait.workflows (slug, project_id) WHERE deleted_at IS NULL;
CREATE INDEX workflows_project ON strait.workflows (project_id, id) WHERE deleted_at IS NULL;

CREATE TABLE strait.workflow_versions (
    workflow_id uuid NOT NULL REFERENCES strait.workflows (id),
    version     integer NOT NULL,
    version_id  uuid NOT NULL,
    definition  text NOT NULL,
    steps       text NOT NULL,
    step_count  integer NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (workflow_id, version)
);

-- The jobs and workflows that the present version of a workflow refers to, each once: they may not be deleted.
CREATE TABLE strait.workflow_refs (
    target_id   uuid NOT NULL,
    workflow_id uuid NOT NULL REFERENCES strait.workflows (id),
    -- Whether the target is a job or a workflow.
    is_job      boolean NOT NULL,
    -- Whether it is named by its slug, so that it may not take another one.
    by_slug     boolean NOT NULL,
    PRIMARY KEY (target_id, workflow_id)
);
CREATE INDEX workflow_refs_workflow ON strait.workflow_refs (workflow_id);
