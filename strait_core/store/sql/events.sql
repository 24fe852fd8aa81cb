-- Events: a row for each key that is waited for or was sent. Whoever has the row of a key decides alone.

-- name: retire
-- A key is free again a day after it was sent.
UPDATE strait.events SET retired = true
WHERE project_id = %(project_id)s AND key = %(key)s AND NOT retired AND status = 'received' AND expires_at <= %(now)s

-- name: hold
INSERT INTO strait.events AS e (id, project_id, key, status, retired, delivered, created_at, look_at)
VALUES (%(id)s, %(project_id)s, %(key)s, 'waiting', false, 0, %(now)s, %(look_at)s)
ON CONFLICT (project_id, key) WHERE NOT retired DO UPDATE SET key = e.key
RETURNING id, status, body_hash, delivered, xmax = 0 AS is_new

-- name: receive
UPDATE strait.events SET status = 'received', payload = %(payload)s, body_hash = %(body_hash)s, sent_at = %(now)s,
    expires_at = %(until)s, look_at = %(until)s
WHERE id = %(id)s

-- name: look_at_steps
-- Whatever step of a workflow run waits for it is looked at now.
UPDATE strait.workflow_steps SET due_at = %(now)s WHERE event_id = %(id)s AND status = 'waiting'

-- name: count_delivered
UPDATE strait.events SET delivered = delivered + %(more)s WHERE id = %(id)s

-- name: cancel_if_waiting
-- Nothing comes back when it was sent or canceled meanwhile.
UPDATE strait.events SET status = 'canceled', retired = true, look_at = %(until)s
WHERE id = %(id)s AND status = 'waiting' AND NOT retired RETURNING project_id

-- name: awaited_keys
SELECT key FROM strait.events e
WHERE project_id = %(project_id)s AND NOT retired AND status = 'waiting' AND key >= %(prefix)s AND key < %(beyond)s
    AND starts_with(key, %(prefix)s)
    AND strait.open_waits(e.id) > 0
ORDER BY key LIMIT %(limit)s

-- name: event_by_id
SELECT e.id, e.project_id, e.key, e.status, e.payload, e.delivered, e.created_at, e.sent_at, e.expires_at,
    strait.open_waits(e.id) AS waits
FROM strait.events e WHERE e.id = %(id)s

-- name: events_by_key
-- The newest row of the key in each project.
SELECT DISTINCT ON (e.project_id) e.id, e.project_id, e.key, e.status, e.payload, e.delivered, e.created_at, e.sent_at,
    e.expires_at, strait.open_waits(e.id) AS waits
FROM strait.events e WHERE e.key = %(key)s AND (%(project)s::text IS NULL OR e.project_id = %(project)s)
ORDER BY e.project_id, e.id DESC LIMIT 20

-- name: list_events
SELECT e.id, e.project_id, e.key, e.status, e.delivered, e.created_at, e.sent_at, e.expires_at, w.open AS waits
FROM strait.events e
CROSS JOIN LATERAL strait.open_waits(e.id) AS w(open)
WHERE (%(project)s::text IS NULL OR e.project_id = %(project)s)
    AND (%(status)s::text IS NULL OR e.status = %(status)s)
    AND (%(prefix)s::text IS NULL OR starts_with(e.key, %(prefix)s))
    AND (e.status <> 'waiting' OR w.open > 0)
    AND (%(before)s::uuid IS NULL OR e.id < %(before)s)
    AND (%(low)s::uuid IS NULL OR e.id BETWEEN %(low)s AND %(high)s)
ORDER BY e.id DESC LIMIT %(limit)s

-- name: lock_unneeded
SELECT id FROM strait.events WHERE look_at <= %(now)s ORDER BY look_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: forget_unneeded
-- Of rows that are locked: those that no wait refers to and that nobody may still wait for.
DELETE FROM strait.events e WHERE e.id = ANY(%(ids)s)
    AND NOT EXISTS (SELECT FROM strait.waits w WHERE w.event_id = e.id)
    AND NOT EXISTS (SELECT FROM strait.workflow_steps s WHERE s.event_id = e.id AND s.status = 'waiting')

-- name: look_later
UPDATE strait.events SET look_at = %(later)s WHERE id = ANY(%(ids)s)
