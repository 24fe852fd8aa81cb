-- Triggers that meet in a window of their job. Whoever has the row of a window decides alone; then come the run's due
-- entry and the run, in the order in which a promotion and a cancel take them.

-- name: job_takes_runs
SELECT true FROM strait.jobs
WHERE id = %(job_id)s AND version = %(version)s AND enabled AND NOT paused AND deleted_at IS NULL

-- name: lock_window
INSERT INTO strait.trigger_windows AS w (job_id, kind, key, run_id, first_at, until_at, items, bytes)
VALUES (%(job_id)s, %(kind)s, %(key)s, NULL, %(now)s, %(now)s, 0, 0)
ON CONFLICT (job_id, kind, key) DO UPDATE SET key = w.key
RETURNING run_id, first_at, until_at, items, bytes

-- name: set_window
UPDATE strait.trigger_windows SET run_id = %(run_id)s, first_at = %(first_at)s, until_at = %(until_at)s,
    items = %(items)s, bytes = %(bytes)s
WHERE job_id = %(job_id)s AND kind = %(kind)s AND key = %(key)s

-- name: lock_due
-- Comes back while the run still waits for its time; a promotion under way is waited for.
SELECT run_id FROM strait.due WHERE run_id = %(run_id)s AND moves FOR UPDATE

-- name: move_due
UPDATE strait.due SET due_at = %(due_at)s WHERE run_id = %(run_id)s AND moves

-- name: replace_delayed
-- The newest trigger takes the place of the ones before it.
UPDATE strait.runs SET payload = %(payload)s, tags = %(tags)s, metadata = %(metadata)s, priority = %(priority)s,
    max_attempts = %(max_attempts)s, timeout_secs = %(timeout_secs)s, retry_strategy = %(retry_strategy)s,
    job_version = %(job_version)s, concurrency_key = %(concurrency_key)s, scheduled_at = %(scheduled_at)s,
    expires_at = %(expires_at)s
WHERE id = %(run_id)s AND status = 'delayed' RETURNING id

-- name: append_item
-- One more item at the end of {"items":[…]}; a full batch is due at once.
UPDATE strait.runs SET payload = left(payload, -2) || ',' || %(item)s || ']}',
    scheduled_at = coalesce(%(scheduled_at)s, scheduled_at)
WHERE id = %(run_id)s AND status = 'delayed' RETURNING id

-- name: drop_old_windows
DELETE FROM strait.trigger_windows WHERE ctid IN (
    SELECT ctid FROM strait.trigger_windows WHERE until_at < %(now)s ORDER BY until_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED)
