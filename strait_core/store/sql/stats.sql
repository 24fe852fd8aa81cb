-- Statistics by delta rows: every batch of moves appends one, `fold` adds them up.

-- name: one_folds
-- Whether nobody else folds until the caller's transaction ends, so that positions of changes become visible in their
-- order; and whether the partition of this hour is there.
SELECT pg_try_advisory_xact_lock(7267218850514), to_regclass('strait.' || %(hour)s) IS NOT NULL

-- name: fold
-- Deltas go in the order of their ids, in which those of one object were committed.
WITH gone AS MATERIALIZED (
    DELETE FROM strait.stats_deltas WHERE id = ANY(ARRAY(
        SELECT id FROM strait.stats_deltas ORDER BY id LIMIT %(limit)s))
    RETURNING *
), published AS (
    INSERT INTO strait.changes (position, made_at, at, kind, project_id, ids, owners, seqs, attempts, statuses)
    SELECT nextval('strait.change_positions'), %(now)s, at, coalesce(kind, 'run'), project_id, ids, owners, seqs, attempts, statuses
    FROM (SELECT * FROM gone WHERE ids IS NOT NULL ORDER BY id) g
), moves AS MATERIALIZED (
    SELECT g.at, m ->> 0 AS project_id, (m ->> 1)::uuid AS job_id, m ->> 2 AS from_status, m ->> 3 AS to_status,
        (m ->> 4)::bigint AS n
    FROM gone g, jsonb_array_elements(g.moves) AS m
), shifts AS MATERIALIZED (
    SELECT project_id, job_id, to_status AS status, n FROM moves WHERE to_status <> ''
    UNION ALL SELECT project_id, job_id, from_status, -n FROM moves WHERE from_status <> ''
), depth AS (
    INSERT INTO strait.stats_depth AS d (project_id, status, runs)
    SELECT project_id, status, sum(n) FROM shifts GROUP BY 1, 2 HAVING sum(n) <> 0 ORDER BY 1, 2
    ON CONFLICT (project_id, status) DO UPDATE SET runs = d.runs + excluded.runs
), jobs AS (
    INSERT INTO strait.stats_jobs AS s (job_id, project_id, queued, executing)
    SELECT job_id, project_id, coalesce(sum(n) FILTER (WHERE status IN ('queued', 'retrying', 'delayed')), 0),
        coalesce(sum(n) FILTER (WHERE status IN ('dequeued', 'executing')), 0)
    FROM shifts GROUP BY 1, 2
    HAVING coalesce(sum(n) FILTER (WHERE status IN ('queued', 'retrying', 'delayed')), 0) <> 0
        OR coalesce(sum(n) FILTER (WHERE status IN ('dequeued', 'executing')), 0) <> 0
    ORDER BY 1
    ON CONFLICT (job_id) DO UPDATE SET queued = s.queued + excluded.queued, executing = s.executing + excluded.executing
), rates AS (
    INSERT INTO strait.stats_rates AS r (project_id, bucket, created, finished)
    SELECT project_id, date_bin('10 seconds', at, timestamptz '2001-01-01 00:00:00+00'),
        coalesce(sum(n) FILTER (WHERE from_status = ''), 0),
        coalesce(sum(n) FILTER (WHERE to_status = ANY(%(terminal)s)), 0)
    FROM moves GROUP BY 1, 2
    HAVING count(*) FILTER (WHERE from_status = '' OR to_status = ANY(%(terminal)s)) > 0 ORDER BY 1, 2
    ON CONFLICT (project_id, bucket) DO UPDATE SET created = r.created + excluded.created,
        finished = r.finished + excluded.finished
)
SELECT count(*) FROM gone

-- name: drop_old_rates
DELETE FROM strait.stats_rates WHERE bucket < %(before)s

-- name: drop_idle_jobs
DELETE FROM strait.stats_jobs WHERE queued = 0 AND executing = 0

-- name: depth
-- A run that awaits a retry is queued; the counts keep it apart.
SELECT CASE status WHEN 'retrying' THEN 'queued' ELSE status END, sum(runs)::bigint FROM strait.stats_depth
WHERE %(project)s::text IS NULL OR project_id = %(project)s GROUP BY 1

-- name: retrying
SELECT coalesce(sum(runs), 0)::bigint FROM strait.stats_depth
WHERE status = 'retrying' AND (%(project)s::text IS NULL OR project_id = %(project)s)

-- name: rates
-- Runs created and finished since each of two instants; a bucket is ten seconds wide.
SELECT coalesce(sum(created) FILTER (WHERE bucket >= %(minute)s), 0)::bigint,
    coalesce(sum(finished) FILTER (WHERE bucket >= %(minute)s), 0)::bigint,
    coalesce(sum(created), 0)::bigint, coalesce(sum(finished), 0)::bigint
FROM strait.stats_rates WHERE bucket >= %(quarter)s AND (%(project)s::text IS NULL OR project_id = %(project)s)

-- name: top_jobs
SELECT s.job_id, j.slug, s.queued, s.executing FROM strait.stats_jobs s JOIN strait.jobs j ON j.id = s.job_id
WHERE (s.queued > 0 OR s.executing > 0) AND (%(project)s::text IS NULL OR s.project_id = %(project)s)
ORDER BY s.queued + s.executing DESC, s.job_id LIMIT %(limit)s

-- name: held
-- Queued runs of jobs that may not start now, by the first reason.
SELECT g.reason, sum(s.queued)::bigint FROM strait.job_gates(%(now)s) g JOIN strait.stats_jobs s ON s.job_id = g.job_id
WHERE g.job_id = ANY(ARRAY(SELECT job_id FROM strait.stats_jobs WHERE queued > 0)) AND NOT g.is_open AND s.queued > 0
    AND (%(project)s::text IS NULL OR g.project_id = %(project)s)
GROUP BY g.reason
UNION ALL
SELECT CASE WHEN p.rate IS NULL THEN 'key' ELSE 'rate_key' END, count(*) FROM strait.parked p JOIN strait.job_gates(%(now)s) g ON g.job_id = p.job_id
WHERE g.job_id = ANY(ARRAY(SELECT DISTINCT job_id FROM strait.parked)) AND g.is_open
    AND (%(project)s::text IS NULL OR g.project_id = %(project)s)
GROUP BY 1

-- name: oldest_ready
-- The longest-waiting entry: the head of each priority of each lane that holds any.
SELECT min(e.ready_at) FROM (
    SELECT 0::bigint AS lane UNION ALL SELECT lane FROM strait.jobs WHERE lane > 0 AND deleted_at IS NULL
) l CROSS JOIN generate_series(0, 10) AS p(priority) CROSS JOIN LATERAL (
    SELECT r.ready_at FROM strait.ready r WHERE r.lane = l.lane AND r.priority = p.priority
    ORDER BY r.ready_seq LIMIT 1
) e

-- name: fleet
SELECT count(*)::bigint, coalesce(sum(in_flight), 0)::bigint, coalesce(sum(slots), 0)::bigint
FROM strait.workers WHERE heartbeat_at >= %(alive_since)s
