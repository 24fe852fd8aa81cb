-- Workflows, their versions, and what they refer to.

-- name: insert_workflow
WITH stored AS (
    INSERT INTO strait.workflows (id, project_id, slug, enabled, paused, tags, version, version_id, definition, steps,
        step_count, created_at, updated_at)
    VALUES (%(id)s, %(project_id)s, %(slug)s, %(enabled)s, false, %(tags)s, 1, %(version_id)s, %(definition)s,
        %(steps)s, %(step_count)s, %(now)s, %(now)s)
    ON CONFLICT (slug, project_id) WHERE deleted_at IS NULL DO NOTHING
    RETURNING *
), versioned AS (
    INSERT INTO strait.workflow_versions (workflow_id, version, version_id, definition, steps, step_count, created_at)
    SELECT id, version, version_id, definition, steps, step_count, created_at FROM stored
)
SELECT * FROM stored

-- name: workflow_by_id
SELECT * FROM strait.workflows WHERE id = %(id)s AND deleted_at IS NULL

-- name: workflows_by_id
SELECT * FROM strait.workflows WHERE id = ANY(%(ids)s) AND deleted_at IS NULL

-- name: workflows_by_slug
WITH named AS MATERIALIZED (
    SELECT * FROM strait.workflows
    WHERE slug = ANY(ARRAY(SELECT %(slug)s::text)) AND deleted_at IS NULL
        AND (%(project)s::text IS NULL OR project_id = %(project)s)
)
SELECT * FROM named ORDER BY project_id LIMIT 10

-- name: lock_workflow
SELECT * FROM strait.workflows WHERE id = %(id)s AND deleted_at IS NULL FOR NO KEY UPDATE

-- name: update_workflow
WITH stored AS (
    UPDATE strait.workflows SET slug = %(slug)s, enabled = %(enabled)s, tags = %(tags)s, version = %(version)s,
        version_id = %(version_id)s, definition = %(definition)s, steps = %(steps)s, step_count = %(step_count)s,
        updated_at = %(now)s
    WHERE id = %(id)s
    RETURNING *
), versioned AS (
    INSERT INTO strait.workflow_versions (workflow_id, version, version_id, definition, steps, step_count, created_at)
    SELECT id, version, version_id, definition, steps, step_count, %(now)s FROM stored
    ON CONFLICT (workflow_id, version) DO NOTHING
)
SELECT * FROM stored

-- name: pause_workflow
UPDATE strait.workflows SET paused = true, paused_at = %(now)s, pause_reason = %(reason)s, updated_at = %(now)s
WHERE id = %(id)s AND deleted_at IS NULL RETURNING *

-- name: resume_workflow
UPDATE strait.workflows SET paused = false, paused_at = NULL, pause_reason = NULL, updated_at = %(now)s
WHERE id = %(id)s AND deleted_at IS NULL RETURNING *

-- name: delete_workflow
WITH gone AS (
    DELETE FROM strait.workflow_refs WHERE workflow_id = %(id)s
)
UPDATE strait.workflows SET deleted_at = %(now)s, updated_at = %(now)s WHERE id = %(id)s

-- name: list_workflows
SELECT id, project_id, slug, enabled, paused, paused_at, pause_reason, version, version_id, definition, '[]' AS steps,
    step_count, created_at, updated_at
FROM strait.workflows
WHERE deleted_at IS NULL AND (%(project_id)s::text IS NULL OR project_id = %(project_id)s)
    AND (%(enabled)s::boolean IS NULL OR enabled = %(enabled)s)
    AND (%(paused)s::boolean IS NULL OR paused = %(paused)s)
    AND (%(slug)s::text IS NULL OR slug = %(slug)s)
    AND (%(tags)s::jsonb IS NULL OR tags @> %(tags)s)
    AND (%(low)s::uuid IS NULL OR id BETWEEN %(low)s AND %(high)s)
    AND (%(before)s::uuid IS NULL OR id < %(before)s)
ORDER BY id DESC LIMIT %(limit)s

-- name: workflow_versions
SELECT version, version_id, definition, '[]' AS steps, step_count, created_at FROM strait.workflow_versions
WHERE workflow_id = %(id)s AND (%(before)s::integer IS NULL OR version < %(before)s)
ORDER BY version DESC LIMIT %(limit)s

-- name: versions_of
SELECT version, version_id, definition, steps, step_count, created_at FROM strait.workflow_versions
WHERE workflow_id = %(id)s AND version = ANY(ARRAY(SELECT jsonb_array_elements_text(%(versions)s)::integer))

-- name: specs
-- Definitions of the named (workflow, version) pairs.
SELECT v.workflow_id, v.version, v.definition, v.steps FROM strait.workflow_versions v
JOIN unnest(%(workflows)b::uuid[], %(versions)b::integer[]) AS w(workflow_id, version)
    ON v.workflow_id = w.workflow_id AND v.version = w.version
WHERE v.workflow_id = ANY(%(workflows)b::uuid[])

-- name: jobs_named
-- The jobs of a project that are named so, held against deletion and renaming until the transaction ends.
SELECT id, slug, definition FROM strait.jobs
WHERE deleted_at IS NULL AND project_id = %(project_id)s
    AND (id = ANY(ARRAY(SELECT jsonb_array_elements_text(%(ids)s)::uuid))
        OR slug = ANY(ARRAY(SELECT jsonb_array_elements_text(%(slugs)s))))
ORDER BY id FOR SHARE

-- name: workflows_named
SELECT id, slug FROM strait.workflows
WHERE deleted_at IS NULL AND project_id = %(project_id)s
    AND (id = ANY(ARRAY(SELECT jsonb_array_elements_text(%(ids)s)::uuid))
        OR slug = ANY(ARRAY(SELECT jsonb_array_elements_text(%(slugs)s))))
ORDER BY id FOR SHARE

-- name: clear_refs
DELETE FROM strait.workflow_refs WHERE workflow_id = %(id)s

-- name: insert_refs
INSERT INTO strait.workflow_refs (target_id, workflow_id, is_job, by_slug)
SELECT target_id, %(id)s, is_job, by_slug
FROM jsonb_to_recordset(%(refs)s) AS r(target_id uuid, is_job boolean, by_slug boolean)

-- name: users_of
-- The workflows that refer to a job or a workflow, a few of them.
SELECT w.slug, r.by_slug FROM strait.workflow_refs r JOIN strait.workflows w ON w.id = r.workflow_id
WHERE r.target_id = %(id)s AND (%(by_slug)s::boolean IS NULL OR r.by_slug = %(by_slug)s) ORDER BY w.slug LIMIT 10

-- name: children_of
-- The workflows that these refer to.
SELECT r.workflow_id, r.target_id, w.slug FROM strait.workflow_refs r JOIN strait.workflows w ON w.id = r.target_id
WHERE NOT r.is_job AND r.workflow_id = ANY(ARRAY(SELECT jsonb_array_elements_text(%(ids)s)::uuid))

-- name: one_at_a_time
-- Who nests workflows in a project does so one after the other, so that no two together close a circle.
SELECT pg_advisory_xact_lock(hashtextextended(%(project_id)s, 7267218850512))
