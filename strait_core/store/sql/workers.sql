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
DELETE FROM strait.workers WHERE id = %(id)s AND heartbeat_at < %(before)s

-- name: drain_worker
UPDATE strait.workers SET draining = true WHERE id = %(id)s
RETURNING id, host, pid, mode, version, slots, in_flight, draining, started_at, heartbeat_at
