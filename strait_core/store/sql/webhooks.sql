-- Webhooks: deliveries from the outbox to their end. An alert may be of a workflow: then `job_id` is that.

-- name: note_ended
-- Runs that have just been ended from outside, in the same transaction, if their version of the job has a webhook.
WITH ended AS MATERIALIZED (
    SELECT * FROM strait.run_history WHERE id = ANY(%(ids)s) AND finished_at = %(now)s
)
INSERT INTO strait.webhook_deliveries (id, project_id, job_id, run_id, type, status, attempts, created_at, due_at, run)
SELECT b.hook, h.project_id, h.job_id, h.id, 'run.' || h.status, 'pending', 0, h.finished_at, h.finished_at,
    to_jsonb(h)::text
FROM unnest(%(ids)s::uuid[], %(hooks)s::uuid[]) AS b(id, hook) JOIN ended h ON h.id = b.id
JOIN strait.job_versions v ON v.job_id = h.job_id AND v.version = h.job_version
WHERE v.job_id = ANY(ARRAY(SELECT job_id FROM ended)) AND v.definition::jsonb ->> 'webhook_url' IS NOT NULL

-- name: note_alerts
-- Deadlines that have just been found broken, in the same transaction.
INSERT INTO strait.webhook_deliveries (id, project_id, job_id, run_id, type, status, attempts, created_at, due_at, alert)
SELECT hook, project_id, job_id, run_id, 'deadline.broken', 'pending', 0, %(now)s, %(now)s, told
FROM unnest(%(hooks)s::uuid[], %(projects)s::text[], %(jobs)s::uuid[], %(runs)s::uuid[], %(told)s::text[])
    AS a(hook, project_id, job_id, run_id, told)

-- name: insert_test
INSERT INTO strait.webhook_deliveries (id, project_id, job_id, type, status, attempts, created_at, due_at)
VALUES (%(id)s, %(project_id)s, %(job_id)s, 'webhook.test', 'pending', 0, %(now)s, %(now)s)

-- name: take_due
-- Takes deliveries whose time has come, until `lease`: who dies over them leaves them to the next one.
WITH picked AS MATERIALIZED (
    SELECT id FROM strait.webhook_deliveries WHERE status = 'pending' AND due_at <= %(now)s
    ORDER BY due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE strait.webhook_deliveries d SET attempts = d.attempts + 1, due_at = %(lease)s
FROM picked p, strait.schedule_owners o WHERE d.id = p.id AND o.id = d.job_id
RETURNING d.id, d.attempts, d.type, d.created_at, d.run, d.alert, d.project_id, o.kind, o.id AS owner_id, o.version,
    o.definition

-- name: settle_if_taken
-- How an attempt ended; nothing changes when another has taken the delivery since.
UPDATE strait.webhook_deliveries SET status = %(status)s, due_at = %(due_at)s, http_status = %(http_status)s,
    error = %(error)s, delivered_at = CASE WHEN %(status)s = 'delivered' THEN %(now)s::timestamptz END
WHERE id = %(id)s AND status = 'pending' AND attempts = %(attempts)s
RETURNING id

-- name: retry_if_over
-- Starts a delivery that is over from the beginning.
UPDATE strait.webhook_deliveries SET status = 'pending', attempts = 0, due_at = %(now)s, delivered_at = NULL
WHERE id = %(id)s AND status <> 'pending'
RETURNING id

-- name: delivery
SELECT d.id, d.project_id, o.kind, o.id AS owner_id, o.slug, d.run_id, d.type, d.status, d.attempts, d.created_at,
    d.due_at, d.delivered_at, d.http_status, d.error
FROM strait.webhook_deliveries d JOIN strait.schedule_owners o ON o.id = d.job_id
WHERE d.id = %(id)s AND (%(project)s::text IS NULL OR d.project_id = %(project)s)

-- name: deliveries
SELECT d.id, d.project_id, o.kind, o.id AS owner_id, o.slug, d.run_id, d.type, d.status, d.attempts, d.created_at,
    d.due_at, d.delivered_at, d.http_status, d.error
FROM strait.webhook_deliveries d JOIN strait.schedule_owners o ON o.id = d.job_id
WHERE (%(project)s::text IS NULL OR d.project_id = %(project)s)
    AND (%(status)s::text IS NULL OR d.status = %(status)s)
    AND (%(jobs)s::uuid[] IS NULL OR d.job_id = ANY(%(jobs)s))
    AND (%(run)s::uuid IS NULL OR d.run_id = %(run)s)
    AND (%(before)s::uuid IS NULL OR d.id < %(before)s)
    AND (%(low)s::uuid IS NULL OR d.id BETWEEN %(low)s AND %(high)s)
ORDER BY d.id DESC LIMIT %(limit)s

-- name: forget
DELETE FROM strait.webhook_deliveries WHERE id IN (
    SELECT id FROM strait.webhook_deliveries
    WHERE (status = 'delivered' AND coalesce(delivered_at, created_at) < %(delivered_before)s)
        OR (status = 'dead' AND created_at < %(dead_before)s)
    LIMIT %(limit)s
)
