-- Worker processes: one heartbeat row each.

-- name: heartbeat
INSERT INTO strait.workers (id, host, pid, mode, version, slots, in_flight, draining, started_at, heartbeat_at)
VALUES (%(id)s, %(host)s, %(pid)s, %(mode)s, %(version)s, %(slots)s, %(in_flight)s, %(draining)s, %(started_at)s,
    %(now)s)
ON CONFLICT (id) DO UPDATE SET in_flight = excluded.in_flight, slots = excluded.slots,
    draining = strait.workers.draining OR excluded.draining, heartbeat_at = excluded.heartbeat_at
RETURNING draining

-- name: list_workers
SELECT id, host, pid, mode, version, slots, in_flight, draining, started_at, heartbeat_at
FROM strait.workers ORDER BY started_at, id

-- name: stale_workers
SELECT id FROM strait.workers WHERE heartbeat_at < %(before)s ORDER BY heartbeat_at LIMIT %(limit)s

-- name: remove_worker
DELETE FROM strait.workers WHERE id = %(id)s

-- name: remove_stale_worker
DELETE FROM strait.workers WHERE id = %(id)s
    AND (heartbeat_at < %(before)s OR heartbeat_at = %(seen)s::timestamptz)

-- name: silent_holders
-- Workers of which no heartbeat says how long they have been silent: those whose last one lies ahead of all clocks,
-- because the database's was set back since, and those that hold runs and are not on the list, because a claim of theirs
-- committed after they were taken off it. Reads all active runs: no index knows who holds them, so that claims and
-- endings are heap-only updates.
(SELECT id, heartbeat_at FROM strait.workers WHERE heartbeat_at > %(ahead)s ORDER BY id LIMIT %(limit)s)
UNION ALL
(SELECT DISTINCT r.worker_id, NULL::timestamptz FROM strait.runs r
WHERE r.status IN ('dequeued', 'executing') AND r.worker_id IS NOT NULL
    AND NOT EXISTS (SELECT FROM strait.workers w WHERE w.id = r.worker_id) LIMIT %(limit)s)

-- name: drain_worker
UPDATE strait.workers SET draining = true WHERE id = %(id)s
RETURNING id, host, pid, mode, version, slots, in_flight, draining, started_at, heartbeat_at
