-- What an endpoint asks and says in the middle of an attempt, by its run token. Each statement compares (run, executing,
-- attempt), so a token of an attempt that is over reads and changes nothing.

-- name: payload
SELECT payload FROM strait.runs WHERE id = %(id)s AND status = 'executing' AND attempt = %(attempt)s

-- name: checkpoint
SELECT checkpoint FROM strait.runs WHERE id = %(id)s AND status = 'executing' AND attempt = %(attempt)s

-- name: checkpoints
-- The checkpoints that are short enough to be sent along.
SELECT id, checkpoint FROM strait.runs WHERE id = ANY(%(ids)s) AND octet_length(checkpoint) <= 4096

-- name: state
SELECT state FROM strait.runs WHERE id = %(id)s AND status = 'executing' AND attempt = %(attempt)s

-- name: beat
UPDATE strait.runs SET beat_at = %(now)s
WHERE id = %(id)s AND status = 'executing' AND attempt = %(attempt)s RETURNING id

-- name: set_progress
UPDATE strait.runs SET note_seq = coalesce(note_seq, 0) + 1, progress = jsonb_build_object('percent',
    %(percent)s::float8, 'message', %(message)s::text, 'at', %(at)s::text, 'seq', coalesce(note_seq, 0) + 1)
WHERE id = %(id)s AND status = 'executing' AND attempt = %(attempt)s RETURNING id

-- name: set_checkpoint
UPDATE strait.runs SET checkpoint = %(checkpoint)s
WHERE id = %(id)s AND status = 'executing' AND attempt = %(attempt)s RETURNING id

-- name: lock_metadata
SELECT metadata FROM strait.runs
WHERE id = %(id)s AND status = 'executing' AND attempt = %(attempt)s FOR UPDATE

-- name: set_metadata
UPDATE strait.runs SET metadata = %(metadata)s
WHERE id = %(id)s AND status = 'executing' AND attempt = %(attempt)s RETURNING id

-- name: lock_outputs
-- How many other outputs there are and how long they are together.
SELECT (SELECT count(*) FROM jsonb_each_text(r.outputs) e WHERE e.key <> %(key)s) AS others,
    (SELECT coalesce(sum(octet_length(e.key) + octet_length(e.value)), 0)::bigint FROM jsonb_each_text(r.outputs) e
        WHERE e.key <> %(key)s) AS bytes
FROM strait.runs r WHERE r.id = %(id)s AND r.status = 'executing' AND r.attempt = %(attempt)s FOR UPDATE

-- name: put_output
UPDATE strait.runs SET outputs = coalesce(outputs, '{}') || jsonb_build_object(%(key)s::text, %(value)s::text)
WHERE id = %(id)s AND status = 'executing' AND attempt = %(attempt)s RETURNING id

-- name: lock_state
SELECT (SELECT count(*) FROM jsonb_each_text(r.state) e WHERE e.key <> %(key)s) AS others,
    (SELECT coalesce(sum(octet_length(e.key) + octet_length(e.value)), 0)::bigint FROM jsonb_each_text(r.state) e
        WHERE e.key <> %(key)s) AS bytes
FROM strait.runs r WHERE r.id = %(id)s AND r.status = 'executing' AND r.attempt = %(attempt)s FOR UPDATE

-- name: put_state
UPDATE strait.runs SET state = coalesce(state, '{}') || jsonb_build_object(%(key)s::text, %(value)s::text)
WHERE id = %(id)s AND status = 'executing' AND attempt = %(attempt)s RETURNING id

-- name: drop_state
UPDATE strait.runs SET state = state - %(key)s::text
WHERE id = %(id)s AND status = 'executing' AND attempt = %(attempt)s RETURNING id
