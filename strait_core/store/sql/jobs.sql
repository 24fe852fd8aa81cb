-- Jobs and their versions.

-- name: insert_job
WITH stored AS (
    INSERT INTO strait.jobs (id, project_id, slug, lane, own_lane, enabled, paused, latest, tags, version, version_id,
        definition, max_concurrency, max_concurrency_per_key, rate_limit_max, rate_limit_window_secs, rate_limit_keys,
        created_at, updated_at, breaker) OVERRIDING SYSTEM VALUE
    SELECT %(id)s, %(project_id)s, %(slug)s, CASE WHEN %(gated)s THEN own.lane ELSE 0 END, own.lane, %(enabled)s, false,
        %(latest)s, %(tags)s, 1, %(version_id)s, %(definition)s, %(max_concurrency)s,
        %(max_concurrency_per_key)s, %(rate_limit_max)s, %(rate_limit_window_secs)s, %(rate_limit_keys)s,
        %(now)s, %(now)s, %(breaker)s
    FROM (SELECT nextval(pg_get_serial_sequence('strait.jobs', 'own_lane')) AS lane) own
    ON CONFLICT (slug, project_id) WHERE deleted_at IS NULL DO NOTHING
    RETURNING *
), versioned AS (
    INSERT INTO strait.job_versions (job_id, version, version_id, definition, created_at)
    SELECT id, version, version_id, definition, created_at FROM stored
)
SELECT * FROM stored

-- name: job_by_id
SELECT j.*, EXISTS (SELECT FROM strait.budgets b WHERE b.project_id = j.project_id) AS budgeted FROM strait.jobs j
WHERE id = %(id)s AND deleted_at IS NULL

-- name: jobs_by_slug
WITH named AS MATERIALIZED (
    SELECT * FROM strait.jobs
    WHERE slug = ANY(ARRAY(SELECT %(slug)s::text)) AND deleted_at IS NULL
        AND (%(project)s::text IS NULL OR project_id = %(project)s)
)
SELECT j.*, EXISTS (SELECT FROM strait.budgets b WHERE b.project_id = j.project_id) AS budgeted FROM named j
ORDER BY project_id LIMIT 10

-- name: lock_job
SELECT * FROM strait.jobs WHERE id = %(id)s AND deleted_at IS NULL FOR NO KEY UPDATE

-- name: update_job
WITH stored AS (
    UPDATE strait.jobs SET slug = %(slug)s, enabled = %(enabled)s, latest = %(latest)s, tags = %(tags)s,
        version = %(version)s, version_id = %(version_id)s, definition = %(definition)s, updated_at = %(now)s,
        breaker = %(breaker)s, max_concurrency = %(max_concurrency)s,
        max_concurrency_per_key = %(max_concurrency_per_key)s, rate_limit_max = %(rate_limit_max)s,
        rate_limit_window_secs = %(rate_limit_window_secs)s, rate_limit_keys = %(rate_limit_keys)s,
        unsettled_at = CASE WHEN %(first_limit)s THEN %(now)s ELSE unsettled_at END,
        -- A job that loses its last gate goes back to lane 0; entries that wait in its lane are served there still.
        lane = CASE WHEN %(gated)s THEN own_lane
            WHEN %(last_limit)s AND NOT paused AND open_from IS NULL AND NOT EXISTS (
                SELECT FROM strait.breakers b WHERE b.key = %(breaker)s AND b.allowance IS NOT NULL) THEN 0
            ELSE lane END
    WHERE id = %(id)s
    RETURNING *
), versioned AS (
    INSERT INTO strait.job_versions (job_id, version, version_id, definition, created_at)
    SELECT id, version, version_id, definition, %(now)s FROM stored ON CONFLICT (job_id, version) DO NOTHING
)
SELECT * FROM stored

-- name: pause_job
-- A paused job takes its own lane, so that its runs are out of the way of all others.
UPDATE strait.jobs SET paused = true, paused_at = %(now)s, pause_reason = %(reason)s, lane = own_lane,
    updated_at = %(now)s
WHERE id = %(id)s AND deleted_at IS NULL RETURNING *

-- name: resume_job
-- The job keeps its lane, which is open now: entries that wait in it keep their places.
UPDATE strait.jobs SET paused = false, paused_at = NULL, pause_reason = NULL, updated_at = %(now)s
WHERE id = %(id)s AND deleted_at IS NULL RETURNING *

-- name: delete_job
UPDATE strait.jobs SET deleted_at = %(now)s, updated_at = %(now)s WHERE id = %(id)s RETURNING project_id, version

-- name: active_runs_of_job
SELECT id FROM strait.runs WHERE job_id = %(id)s LIMIT 1

-- name: job_versions
SELECT version, version_id, definition, created_at FROM strait.job_versions
WHERE job_id = %(id)s AND (%(before)s::integer IS NULL OR version < %(before)s) ORDER BY version DESC LIMIT %(limit)s

-- name: definitions
-- Definitions of the named (job, version) pairs, for dispatch.
SELECT v.job_id, v.version, v.definition, j.slug FROM strait.job_versions v JOIN strait.jobs j ON j.id = v.job_id
JOIN unnest(%(jobs)b::uuid[], %(versions)b::integer[]) AS w(job_id, version)
    ON v.job_id = w.job_id AND v.version = w.version
WHERE v.job_id = ANY(%(jobs)b::uuid[]) AND j.id = ANY(%(jobs)b::uuid[])
