-- Limits: who may claim from a gated job, and what happens when a slot of it is free again.

-- name: hold_lanes
-- Takes the jobs with limits among these lanes for one claim. It waits for nobody: whom another claim holds, that claim
-- serves.
SELECT own_lane, unsettled_at IS NULL, max_concurrency_per_key IS NOT NULL, rate_limit_keys::text FROM strait.jobs
WHERE own_lane = ANY(%(lanes)b::bigint[]) AND is_limited
ORDER BY own_lane FOR NO KEY UPDATE SKIP LOCKED

-- name: survey
-- The next entries of lanes whose jobs limit their keys, and how many more attempts each one's concurrency key may have;
-- null: it has none, or there is no such cap. One that is `late` will not be claimed, so it takes up nothing.
SELECT e.lane, e.ready_seq, e.run_id, e.key, CASE WHEN e.key IS NOT NULL AND j.max_concurrency_per_key IS NOT NULL THEN
    j.max_concurrency_per_key - (SELECT count(*) FROM strait.runs s
        WHERE s.slot_lane = e.lane AND s.concurrency_key = e.key)::integer END, e.priority, e.at::text,
    coalesce(e.expires_at <= %(now)s, false)
FROM strait.jobs j CROSS JOIN LATERAL (
    SELECT h.*, x.key, x.expires_at FROM (
        SELECT r.ctid AS at, r.lane, r.priority, r.ready_seq, r.run_id FROM strait.ready r WHERE r.lane = j.own_lane
        ORDER BY r.priority DESC, r.ready_seq LIMIT %(look)s FOR UPDATE SKIP LOCKED
    ) h LEFT JOIN LATERAL (
        SELECT r.concurrency_key AS key, r.expires_at FROM strait.runs r WHERE r.id = h.run_id LIMIT 1) x ON true
) e
WHERE j.own_lane = ANY(%(lanes)b::bigint[])
ORDER BY e.priority DESC, e.ready_seq

-- name: park
-- Takes entries, which the caller has locked, out of the ready order: each waits for its key, of a named limit (`rates`)
-- or for a slot. The caller holds their jobs.
WITH gone AS (
    DELETE FROM strait.ready r
    USING unnest(%(at)s::text[]::tid[], %(rates)b::text[], %(keys)b::text[]) AS p(at, rate, key)
    WHERE r.ctid = ANY(%(at)s::text[]::tid[]) AND r.ctid = p.at
    RETURNING r.run_id, r.lane, r.job_id, p.key, r.priority, r.ready_seq, r.ready_at, p.rate
)
INSERT INTO strait.parked (run_id, lane, job_id, key, priority, ready_seq, ready_at, rate)
SELECT run_id, lane, job_id, key, priority, ready_seq, ready_at, rate FROM gone

-- name: await_lanes
-- Takes the jobs among these lanes whose keys are capped: a claim that is just parking runs of theirs is over then.
SELECT own_lane FROM strait.jobs
WHERE own_lane = ANY(%(lanes)b::bigint[]) AND max_concurrency_per_key IS NOT NULL ORDER BY own_lane FOR NO KEY UPDATE

-- name: await_jobs
-- Takes the jobs of these lanes, for what is to be let go of them.
SELECT own_lane FROM strait.jobs WHERE own_lane = ANY(%(lanes)b::bigint[]) ORDER BY own_lane FOR NO KEY UPDATE

-- name: capped_jobs
-- The same for these jobs: the lane of each.
SELECT id, own_lane FROM strait.jobs
WHERE id = ANY(%(jobs)s) AND max_concurrency_per_key IS NOT NULL ORDER BY own_lane FOR NO KEY UPDATE

-- name: unpark
-- For each slot of a key that is free again, the first run that waits for it returns to its place in the lane.
WITH freed AS (
    SELECT lane, key, count(*) AS n FROM unnest(%(lanes)b::bigint[], %(keys)b::text[]) AS f(lane, key) GROUP BY 1, 2
), picked AS MATERIALIZED (
    SELECT p.run_id FROM freed f CROSS JOIN LATERAL (
        SELECT q.run_id FROM strait.parked q WHERE q.lane = f.lane AND q.key = f.key AND q.rate IS NULL
        ORDER BY q.priority DESC, q.ready_seq LIMIT f.n FOR UPDATE SKIP LOCKED) p
), gone AS (
    DELETE FROM strait.parked q USING picked p
    WHERE q.run_id = ANY(ARRAY(SELECT run_id FROM picked)) AND q.run_id = p.run_id RETURNING q.*
)
INSERT INTO strait.ready (lane, priority, ready_seq, run_id, job_id, ready_at)
SELECT lane, priority, ready_seq, run_id, job_id, ready_at FROM gone

-- name: unpark_job
-- All of a job return: what it allows has changed. It waits for nobody: who ends a parked run waits for the job, which the
-- caller holds. Should that run not end after all, the service that looks for idle keys lets it return.
WITH picked AS MATERIALIZED (
    SELECT run_id FROM strait.parked WHERE job_id = %(job)s FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM strait.parked WHERE run_id = ANY(ARRAY(SELECT run_id FROM picked)) RETURNING *
)
INSERT INTO strait.ready (lane, priority, ready_seq, run_id, job_id, ready_at)
SELECT lane, priority, ready_seq, run_id, job_id, ready_at FROM gone

-- name: idle_keys
-- Keys for which runs are parked though fewer attempts are live than may be, and nobody is on his way to them: what a
-- run that left the queue has left behind; also those of jobs without such a cap. Hops from key to key.
WITH RECURSIVE hop AS (
    (SELECT p.lane, p.key FROM strait.parked p WHERE p.rate IS NULL ORDER BY p.lane, p.key LIMIT 1)
    UNION ALL
    SELECT n.lane, n.key FROM hop h CROSS JOIN LATERAL (
        SELECT p.lane, p.key FROM strait.parked p WHERE (p.lane, p.key) > (h.lane, h.key) AND p.rate IS NULL
        ORDER BY p.lane, p.key LIMIT 1) n
)
SELECT h.lane, h.key FROM hop h JOIN strait.jobs j ON j.own_lane = h.lane
WHERE coalesce(j.max_concurrency_per_key > (
    SELECT count(*) FROM strait.runs r WHERE r.slot_lane = h.lane AND r.concurrency_key = h.key), true)
LIMIT %(limit)s

-- name: give_slots
-- Gives slots to attempts that were live before their job had limits; those that move just now are left to the next.
WITH live AS MATERIALIZED (
    SELECT r.id, j.own_lane FROM strait.jobs j JOIN strait.runs r ON r.job_id = j.id
    WHERE j.own_lane = ANY(%(lanes)b::bigint[])
        AND r.job_id = ANY(ARRAY(SELECT id FROM strait.jobs WHERE own_lane = ANY(%(lanes)b::bigint[])))
        AND r.slot_lane IS NULL AND r.status IN ('dequeued', 'executing')
    FOR UPDATE OF r SKIP LOCKED
)
UPDATE strait.runs r SET slot_lane = l.own_lane FROM live l
WHERE r.id = ANY(ARRAY(SELECT id FROM live)) AND r.id = l.id

-- name: settle_lanes
-- The jobs of whose live attempts every one has a slot now.
UPDATE strait.jobs j SET unsettled_at = NULL
WHERE j.own_lane = ANY(%(lanes)b::bigint[]) AND NOT EXISTS (
    SELECT FROM strait.runs r
    WHERE r.job_id = j.id AND r.slot_lane IS NULL AND r.status IN ('dequeued', 'executing') OFFSET 0)
RETURNING j.own_lane

-- name: note_freed
INSERT INTO strait.lane_state AS s (lane, freed_at)
SELECT f.lane, max(f.freed_at) FROM unnest(%(lanes)b::bigint[], %(times)b::timestamptz[]) AS f(lane, freed_at)
GROUP BY f.lane ORDER BY f.lane
ON CONFLICT (lane) DO UPDATE SET freed_at = greatest(s.freed_at, excluded.freed_at)

-- name: close_ranks
-- For the transaction in which a job gets its first limit: claims that began without knowing of it are over when this
-- returns, and new ones wait until the job has changed.
SET LOCAL lock_timeout = '5s';
LOCK TABLE strait.ready IN EXCLUSIVE MODE;
SET LOCAL lock_timeout = 0
