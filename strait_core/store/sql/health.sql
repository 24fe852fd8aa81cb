-- How a job is doing: bounded reads, however long its queue and its history.

-- name: standing
SELECT g.reason, g.until_at AS until, b.state, b.failures, b.open_until,
    coalesce(s.queued, 0) AS queued, coalesce(s.executing, 0) AS executing
FROM strait.jobs j JOIN strait.job_gates(%(now)s) g ON g.job_id = j.id
LEFT JOIN strait.breakers b ON b.key = j.breaker LEFT JOIN strait.stats_jobs s ON s.job_id = j.id
WHERE j.id = %(job)s

-- name: oldest_queued
-- Since when the longest-waiting of the job's first runs has been ready.
SELECT min(ready_at) FROM (
    SELECT status, ready_at FROM strait.runs WHERE job_id = %(job)s ORDER BY id LIMIT %(runs)s
) first WHERE status = 'queued'

-- name: recent_attempts
-- What endpoints had a part in: neither lost workers nor what we gave back, ended from outside or failed ourselves.
WITH newest AS MATERIALIZED (
    (SELECT id FROM strait.run_history WHERE job_id = %(job)s AND finished_at >= %(since)s
        ORDER BY id DESC LIMIT %(runs)s)
    UNION ALL
    SELECT id FROM (SELECT id, attempt FROM strait.runs WHERE job_id = %(job)s ORDER BY id LIMIT %(runs)s) first
    WHERE attempt > 0
), tried AS MATERIALIZED (
    SELECT a.finished_at, a.total_ms, a.error_class FROM strait.attempts a
    WHERE a.run_id = ANY(ARRAY(SELECT id FROM newest)) AND a.finished_at >= %(since)s
        AND a.outcome NOT IN ('released', 'canceled', 'lost', 'crashed', 'fault', 'system_failed')
    ORDER BY a.finished_at DESC LIMIT %(attempts)s
)
SELECT count(*) AS attempts, count(error_class) AS failures, min(finished_at) AS since,
    percentile_disc(ARRAY[0.5, 0.9, 0.99, 1]) WITHIN GROUP (ORDER BY total_ms)::float8[] AS latency,
    (SELECT coalesce(jsonb_object_agg(error_class, n), '{}') FROM (
        SELECT error_class, count(*) AS n FROM tried WHERE error_class IS NOT NULL GROUP BY 1) c) AS errors
FROM tried
