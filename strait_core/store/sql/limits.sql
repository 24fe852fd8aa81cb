-- Limits: who may claim from a gated job, and what happens when a slot of it is free again.

-- name: hold_lanes
-- Takes the jobs with limits among these lanes for one claim. It waits for nobody: whom another claim holds, that claim
-- serves.
SELECT own_lane, unsettled_at IS NULL FROM strait.jobs
WHERE own_lane = ANY(%(lanes)b::bigint[]) AND max_concurrency IS NOT NULL
ORDER BY own_lane FOR NO KEY UPDATE SKIP LOCKED

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
