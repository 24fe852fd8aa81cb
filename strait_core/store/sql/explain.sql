-- Why a run is not running: its job's limits as the claim reads them (`job_limits`), what it waits for, its place in the
-- queue, and the workers.

-- name: standing
SELECT r.id, r.project_id, r.status, r.attempt, r.max_attempts, r.priority, r.ready_seq, d.due_at, j.slug, j.pause_reason,
    j.max_concurrency, j.max_concurrency_per_key, r.concurrency_key, r.job_id, r.fire_at, l.own_lane, l.disabled, l.paused, l.closed,
    l.broken, l.concurrency, l.rate, l.window_at, l.breaker_at, l.rate_at,
    -- How many more attempts the run's key may have, as the claim counts them.
    CASE WHEN r.concurrency_key IS NOT NULL THEN j.max_concurrency_per_key - (SELECT count(*) FROM strait.runs s
        WHERE s.slot_lane = l.own_lane AND s.concurrency_key = r.concurrency_key)::integer END AS key_room,
    b.probe_run, g.is_open, g.reason, j.rate_limit_keys::text, p.rate AS waits_for, r.expires_at <= %(now)s AS outlived
FROM strait.runs r JOIN strait.jobs j ON j.id = r.job_id JOIN strait.job_limits(%(now)s) l ON l.job_id = r.job_id
JOIN strait.job_gates(%(now)s) g ON g.job_id = r.job_id LEFT JOIN strait.due d ON d.run_id = r.id
LEFT JOIN strait.breakers b ON b.key = l.breaker AND b.state = 'probing' LEFT JOIN strait.parked p ON p.run_id = r.id
WHERE r.id = %(id)s

-- name: holders
-- The runs that have the job's slots, the first ones first.
SELECT id FROM strait.runs WHERE slot_lane = %(lane)s AND (%(key)s::text IS NULL OR concurrency_key = %(key)s)
ORDER BY claimed_at, id LIMIT %(most)s

-- name: ended
SELECT h.project_id, h.status, h.attempt, h.max_attempts, h.finished_at, h.job_id, h.fire_at, j.slug
FROM strait.run_history h JOIN strait.jobs j ON j.id = h.job_id
WHERE h.id = %(id)s AND h.finished_at >= %(made_at)s

-- name: awaited
SELECT e.key AS event_key, w.child_id, w.due_at FROM strait.waits w LEFT JOIN strait.events e ON e.id = w.event_id
WHERE w.run_id = %(id)s AND w.outcome IS NULL ORDER BY w.id

-- name: ahead
-- Entries that the claim would take first: in lane 0, in the run's own lane and in the open ones.
SELECT count(*) FROM (
    SELECT FROM unnest(%(lanes)s::bigint[]) AS l(lane) CROSS JOIN LATERAL (
        SELECT FROM strait.ready e WHERE e.lane = l.lane AND (e.priority > %(priority)s
            OR e.priority = %(priority)s AND e.ready_seq < %(ready_seq)s) LIMIT %(most)s) one
    LIMIT %(most)s
) n

-- name: capacity
SELECT count(*) AS workers, coalesce(sum(slots), 0)::integer AS slots, coalesce(sum(in_flight), 0)::integer AS used
FROM strait.workers WHERE heartbeat_at >= %(since)s AND NOT draining
