-- Idempotency keys. Those of triggers are written by `insert_runs`, with the runs they protect.

-- name: take_key
-- Nothing comes back when somebody has the key; who has not committed yet is waited for.
INSERT INTO strait.idempotency_keys (project_id, route, key, body_hash, run_ids, batch_id, look_at)
VALUES (%(project_id)s, %(route)s, %(key)s, %(body_hash)s, %(run_ids)s, %(batch_id)s, %(look_at)s)
ON CONFLICT DO NOTHING RETURNING key

-- name: keep_answer
UPDATE strait.idempotency_keys SET status = %(status)s, etag = %(etag)s, response = %(response)s
WHERE project_id = %(project_id)s AND route = %(route)s AND key = %(key)s

-- name: keep_runs
UPDATE strait.idempotency_keys SET run_ids = %(run_ids)s
WHERE project_id = %(project_id)s AND route = %(route)s AND key = %(key)s

-- name: find_keys
SELECT * FROM strait.idempotency_keys
WHERE project_id = %(project_id)s AND route = %(route)s AND key = ANY(%(keys)s)

-- name: lock_overdue
-- Keys to look at again, the longest overdue first; those that another process looks at are left to it.
SELECT project_id, route, key, run_ids FROM strait.idempotency_keys WHERE look_at <= %(now)s
ORDER BY look_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: lock_key
SELECT project_id, route, key, run_ids FROM strait.idempotency_keys
WHERE project_id = %(project_id)s AND route = %(route)s AND key = ANY(%(keys)s) AND look_at <= %(now)s
ORDER BY key FOR UPDATE

-- name: last_ends
-- When each of these runs ended, null while it is active; a run that is forgotten has no row.
SELECT id, NULL::timestamptz AS finished_at FROM strait.runs WHERE id = ANY(%(ids)s)
UNION ALL
SELECT id, finished_at FROM strait.run_history WHERE id = ANY(%(ids)s) AND finished_at >= %(made_at)s

-- name: settle_keys
-- Forgets keys whose time is over, and puts off the look at the others.
WITH batch AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(batch)b::jsonb) AS b(
        project_id text, route text, key text, look_at timestamptz)
), gone AS (
    DELETE FROM strait.idempotency_keys k USING batch b
    WHERE k.project_id = b.project_id AND k.route = b.route AND k.key = b.key AND b.look_at IS NULL RETURNING 1
), kept AS (
    UPDATE strait.idempotency_keys k SET look_at = b.look_at FROM batch b
    WHERE k.project_id = b.project_id AND k.route = b.route AND k.key = b.key AND b.look_at IS NOT NULL RETURNING 1
)
SELECT count(*) FROM gone
