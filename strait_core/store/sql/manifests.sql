-- Manifests: who has applied what.

-- name: one_manifest_at_a_time
-- Manifests of one project are carried out one after the other.
SELECT pg_advisory_xact_lock(hashtextextended(%(project_id)s, 7267218850513))

-- name: owned
-- What a manifest has applied and what is still there, with its name.
SELECT o.kind, o.object_id AS id, coalesce(j.slug, w.slug, c.slug) AS slug
FROM strait.manifest_objects o
LEFT JOIN strait.jobs j ON o.kind = 'job' AND j.id = o.object_id AND j.deleted_at IS NULL
LEFT JOIN strait.workflows w ON o.kind = 'workflow' AND w.id = o.object_id AND w.deleted_at IS NULL
LEFT JOIN strait.calendars c ON o.kind = 'calendar' AND c.id = o.object_id
WHERE o.project_id = %(project_id)s AND o.manifest = %(manifest)s
    AND coalesce(j.slug, w.slug, c.slug) IS NOT NULL
ORDER BY o.kind, slug

-- name: owners
SELECT object_id, manifest FROM strait.manifest_objects
WHERE object_id = ANY(ARRAY(SELECT jsonb_array_elements_text(%(ids)s)::uuid))

-- name: own
INSERT INTO strait.manifest_objects (object_id, project_id, manifest, kind, applied_at)
SELECT r.object_id, %(project_id)s, %(manifest)s, r.kind, %(now)s
FROM jsonb_to_recordset(%(objects)s) AS r(object_id uuid, kind text)
ON CONFLICT (object_id) DO UPDATE SET manifest = excluded.manifest, applied_at = excluded.applied_at
WHERE manifest_objects.manifest <> excluded.manifest

-- name: disown
-- Forgets what is there no longer, by whomever it was deleted.
DELETE FROM strait.manifest_objects o
WHERE o.project_id = %(project_id)s AND o.manifest = %(manifest)s
    AND NOT EXISTS (SELECT FROM strait.jobs j WHERE j.id = o.object_id AND j.deleted_at IS NULL)
    AND NOT EXISTS (SELECT FROM strait.workflows w WHERE w.id = o.object_id AND w.deleted_at IS NULL)
    AND NOT EXISTS (SELECT FROM strait.calendars c WHERE c.id = o.object_id)

-- name: lock_workflows
-- The workflows that are named, and those whose schedules go by a calendar that is.
SELECT w.id, w.slug FROM strait.workflows w
WHERE w.deleted_at IS NULL AND w.project_id = %(project_id)s
    AND (w.slug = ANY(ARRAY(SELECT jsonb_array_elements_text(%(slugs)s)))
        OR w.id IN (SELECT s.target_id FROM strait.schedules s JOIN strait.calendars c ON c.id = s.calendar_id
            WHERE c.project_id = %(project_id)s
                AND c.slug = ANY(ARRAY(SELECT jsonb_array_elements_text(%(calendars)s)))))
ORDER BY w.id FOR NO KEY UPDATE

-- name: lock_jobs
-- The jobs that are named, and those whose schedules go by a calendar that is.
SELECT j.id, j.slug FROM strait.jobs j
WHERE j.deleted_at IS NULL AND j.project_id = %(project_id)s
    AND (j.slug = ANY(ARRAY(SELECT jsonb_array_elements_text(%(slugs)s)))
        OR j.id IN (SELECT s.target_id FROM strait.schedules s JOIN strait.calendars c ON c.id = s.calendar_id
            WHERE c.project_id = %(project_id)s
                AND c.slug = ANY(ARRAY(SELECT jsonb_array_elements_text(%(calendars)s)))))
ORDER BY j.id FOR NO KEY UPDATE

-- name: lock_calendars
SELECT id, slug FROM strait.calendars
WHERE project_id = %(project_id)s AND slug = ANY(ARRAY(SELECT jsonb_array_elements_text(%(slugs)s)))
ORDER BY id FOR UPDATE
