-- Breakers: rows for endpoints that have failed lately. Who changes one holds it (FOR UPDATE) and computes the change in
-- strait_core/breaker.py; claims alone take their share of `allowance` off by themselves.

-- name: noteworthy
-- What processes have to know: breakers that a success would change, or that hold runs.
SELECT key, state, failures, changed_at, open_until, allowance, step, looked_at, probe_lease FROM strait.breakers
WHERE state <> 'closed' OR failures > 0

-- name: add_breakers
INSERT INTO strait.breakers (key, state, failures, changed_at, step, looked_at)
SELECT key, 'closed', 0, %(never)s, 0, %(never)s FROM unnest(%(keys)b::uuid[]) AS k(key) ORDER BY key
ON CONFLICT DO NOTHING

-- name: lock_breakers
SELECT key, state, failures, changed_at, open_until, allowance, step, looked_at, probe_lease FROM strait.breakers
WHERE key = ANY(%(keys)b::uuid[]) ORDER BY key FOR UPDATE

-- name: lock_due
-- Those that time may change and nobody else is changing; `probed`: their probe's claim is live.
SELECT key, state, failures, changed_at, open_until, allowance, step, looked_at, probe_lease,
    EXISTS (SELECT FROM strait.runs r WHERE r.id = b.probe_run AND r.lease = b.probe_lease
        AND r.status IN ('dequeued', 'executing')) AS probed
FROM strait.breakers b
WHERE state IN ('probing', 'recovering') OR state = 'open' AND open_until <= %(now)s
ORDER BY key FOR UPDATE OF b SKIP LOCKED

-- name: save_breakers
UPDATE strait.breakers b SET state = c.state, failures = c.failures, changed_at = c.changed_at,
    open_until = c.open_until, allowance = c.allowance, step = c.step, looked_at = c.looked_at,
    probe_lease = c.probe_lease
FROM jsonb_to_recordset(%(batch)b::jsonb) AS c(key uuid, state text, failures integer, changed_at timestamptz,
    open_until timestamptz, allowance integer, step smallint, looked_at timestamptz, probe_lease bigint)
WHERE b.key = c.key

-- name: let_through
-- Lets one run through that no claim has counted, if the breaker lets any: whether it does, and how it stands.
WITH passed AS (
    UPDATE strait.breakers SET allowance = allowance - 1, probe_run = %(run)s, probe_lease = %(lease)s
    WHERE key = %(key)s AND allowance > 0 RETURNING key
)
SELECT b.allowance IS NULL OR EXISTS (SELECT FROM passed), b.state, b.step, b.open_until
FROM strait.breakers b WHERE b.key = %(key)s

-- name: leave_lane_0
-- Jobs of breakers that hold runs take their own lanes, as a paused job does: their runs are out of the way of others.
UPDATE strait.jobs j SET lane = j.own_lane FROM strait.breakers b
WHERE b.state <> 'closed' AND j.breaker = b.key AND j.lane = 0 AND j.deleted_at IS NULL

-- name: forget_breakers
-- A breaker that has been quiet for longer than any attempt can take, or that no job names.
DELETE FROM strait.breakers b WHERE b.changed_at < %(before)s AND b.looked_at < %(before)s
    AND (b.state = 'closed' AND b.failures = 0
        OR NOT EXISTS (SELECT FROM strait.jobs j WHERE j.breaker = b.key AND j.deleted_at IS NULL))
