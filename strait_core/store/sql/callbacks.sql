-- Live attempts that end by their endpoint's own word, or by the clock.

-- name: live
-- The attempt as a worker knows it (but for the payload), and what is known of its acceptance.
SELECT r.id, r.job_id, r.project_id, r.lease, r.attempt, r.attempt_base, r.max_attempts, r.priority, r.timeout_secs,
    r.job_version, r.retry_strategy, r.error, r.error_fingerprint, r.error_streak, r.claimed_at, r.started_at,
    coalesce(r.slot_lane, 0) AS lane, r.workflow_run_id, r.step_index, r.retry_initial_secs, r.retry_max_secs,
    c.run_id IS NOT NULL AS accepted, c.http_status, c.fallback, c.connect_ms, c.ttfb_ms, c.transfer_ms,
    coalesce(c.queue_wait_ms, greatest(extract(epoch FROM r.claimed_at - r.ready_at) * 1000, 0))::float8
        AS queue_wait_ms, NULL::text AS over
FROM strait.runs r
LEFT JOIN strait.callbacks c ON c.run_id = r.id AND c.attempt = r.attempt AND c.lease = r.lease
WHERE r.id = %(id)s AND r.status = 'executing' AND r.attempt = %(attempt)s

-- name: overdue
-- Accepted attempts whose time is over, or whose heartbeats have stopped: only those since the start are the attempt's.
SELECT r.id, r.job_id, r.project_id, r.lease, r.attempt, r.attempt_base, r.max_attempts, r.priority, r.timeout_secs,
    r.job_version, r.retry_strategy, r.error, r.error_fingerprint, r.error_streak, r.claimed_at, r.started_at,
    coalesce(r.slot_lane, 0) AS lane, r.workflow_run_id, r.step_index, r.retry_initial_secs, r.retry_max_secs,
    true AS accepted, c.http_status, c.fallback, c.connect_ms, c.ttfb_ms, c.transfer_ms,
    coalesce(c.queue_wait_ms, 0)::float8 AS queue_wait_ms,
    CASE WHEN c.deadline_at <= %(now)s THEN 'time' ELSE 'heartbeat' END AS over
FROM strait.callbacks c
JOIN strait.runs r ON r.id = c.run_id AND r.status = 'executing' AND r.attempt = c.attempt AND r.lease = c.lease
WHERE c.deadline_at <= %(now)s OR r.beat_at >= r.started_at AND r.beat_at < %(silent_since)s
ORDER BY c.deadline_at LIMIT %(limit)s

-- name: late
-- The same without a look at any heartbeat: what is over time alone, by the index.
SELECT r.id, r.job_id, r.project_id, r.lease, r.attempt, r.attempt_base, r.max_attempts, r.priority, r.timeout_secs,
    r.job_version, r.retry_strategy, r.error, r.error_fingerprint, r.error_streak, r.claimed_at, r.started_at,
    coalesce(r.slot_lane, 0) AS lane, r.workflow_run_id, r.step_index, r.retry_initial_secs, r.retry_max_secs,
    true AS accepted, c.http_status, c.fallback, c.connect_ms, c.ttfb_ms, c.transfer_ms,
    coalesce(c.queue_wait_ms, 0)::float8 AS queue_wait_ms, 'time' AS over
FROM strait.callbacks c
JOIN strait.runs r ON r.id = c.run_id AND r.status = 'executing' AND r.attempt = c.attempt AND r.lease = c.lease
WHERE c.deadline_at <= %(now)s ORDER BY c.deadline_at LIMIT %(limit)s

-- name: forget
DELETE FROM strait.callbacks WHERE run_id = %(id)s AND lease = %(lease)s

-- name: forget_over
-- Clears away what a deadline has passed and whose attempt is over, whoever ended it.
DELETE FROM strait.callbacks c WHERE c.deadline_at <= %(now)s AND NOT EXISTS (
    SELECT FROM strait.runs r WHERE r.id = c.run_id AND r.status = 'executing' AND r.attempt = c.attempt
        AND r.lease = c.lease)

-- name: next_deadline
SELECT min(deadline_at) FROM strait.callbacks WHERE deadline_at > %(now)s
