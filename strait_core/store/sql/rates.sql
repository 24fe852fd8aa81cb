-- Named rate limits: what buckets hold, what a claim takes out of them, and how parked runs return when there are tokens.
-- A claim reads and spends while it holds the job; who returns runs holds the bucket.

-- name: facts
-- What the keys of these runs are made of; without the payload once those before it come to `most` bytes.
SELECT id, CASE WHEN before < %(most)s THEN payload END, concurrency_key, metadata::text, tags::text, triggered_by FROM (
    SELECT r.*, sum(octet_length(r.payload)) OVER (ORDER BY w.n) - octet_length(r.payload) AS before
    FROM unnest(%(ids)b::uuid[]) WITH ORDINALITY AS w(id, n) JOIN strait.runs r ON r.id = w.id
    WHERE r.id = ANY(%(ids)b::uuid[])
) sized

-- name: levels
-- For each of these buckets: its tokens, when it has the next one, when the first run returns that is parked for it,
-- and that run's place.
SELECT strait.tokens(a.most, a.window_secs, b.zero_at, %(now)s), b.zero_at + strait.token_time(a.most, a.window_secs, 1),
    b.wake_at, h.priority, h.ready_seq
FROM unnest(%(lanes)b::bigint[], %(names)b::text[], %(keys)b::text[], %(most)b::integer[], %(windows)b::integer[])
    WITH ORDINALITY AS a(lane, name, key, most, window_secs, n)
LEFT JOIN LATERAL (
    SELECT t.zero_at, t.wake_at FROM strait.rate_buckets t
    WHERE t.lane = a.lane AND t.name = a.name AND t.key = a.key LIMIT 1) b ON true
LEFT JOIN LATERAL (
    SELECT p.priority, p.ready_seq FROM strait.parked p
    WHERE p.lane = a.lane AND p.rate = a.name AND p.key = a.key ORDER BY p.priority DESC, p.ready_seq LIMIT 1) h ON true
ORDER BY a.n

-- name: settle
-- Takes what a claim has spent (`spent` tokens of each), and says when to look after what it has parked (`held`): when
-- there is a token more than there are now. Answers the earliest of these times.
WITH given AS (
    SELECT a.*, greatest((SELECT b.zero_at FROM strait.rate_buckets b WHERE b.lane = a.lane AND b.name = a.name
            AND b.key = a.key), %(now)s::timestamptz - make_interval(secs => a.window_secs))
        + strait.token_time(a.most, a.window_secs, a.spent) AS zero_at
    FROM unnest(%(lanes)b::bigint[], %(names)b::text[], %(keys)b::text[], %(most)b::integer[], %(windows)b::integer[],
        %(spent)b::integer[], %(held)b::boolean[]) AS a(lane, name, key, most, window_secs, spent, held)
), settled AS (
    INSERT INTO strait.rate_buckets AS b (lane, name, key, zero_at, idle_at, wake_at)
    SELECT lane, name, key, zero_at,
        date_trunc('minute', zero_at + make_interval(secs => window_secs), 'UTC') + interval '1 minute',
        CASE WHEN held THEN zero_at + strait.token_time(most, window_secs,
            strait.tokens(most, window_secs, zero_at, %(now)s) + 1) END
    FROM given ORDER BY lane, name, key
    ON CONFLICT (lane, name, key) DO UPDATE SET zero_at = excluded.zero_at, idle_at = excluded.idle_at,
        wake_at = least(b.wake_at, excluded.wake_at)
    RETURNING b.wake_at
)
SELECT min(wake_at) FROM settled

-- name: lock_due
-- Buckets after whose parked runs it is time to look; those that a claim or another process holds are left to it.
SELECT lane, name, key FROM strait.rate_buckets WHERE wake_at <= %(now)s
ORDER BY wake_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: return_runs
-- As many of a bucket's parked runs as it has tokens return to their places, the first ones first; all of them when the
-- job has no such limit any more. While others stay parked the bucket says when to look again. The lanes they are in.
WITH due AS MATERIALIZED (
    SELECT b.lane, b.name, b.key, k.max AS most, k.window_secs,
        greatest(b.zero_at, %(now)s::timestamptz - make_interval(secs => k.window_secs)) AS zero_at,
        CASE WHEN k.max IS NULL THEN 1000000 ELSE greatest(strait.tokens(k.max, k.window_secs, b.zero_at, %(now)s), 0) END
            AS tokens
    FROM unnest(%(lanes)b::bigint[], %(names)b::text[], %(keys)b::text[]) AS d(lane, name, key)
    CROSS JOIN LATERAL (SELECT * FROM strait.rate_buckets t
        WHERE t.lane = d.lane AND t.name = d.name AND t.key = d.key LIMIT 1) b
    LEFT JOIN LATERAL (SELECT e.max, e.window_secs FROM strait.jobs j
        CROSS JOIN jsonb_to_recordset(j.rate_limit_keys) AS e(name text, max integer, window_secs integer)
        WHERE j.own_lane = d.lane AND e.name = d.name LIMIT 1) k ON true
), waiting AS MATERIALIZED (
    SELECT d.lane, d.name, d.key, q.run_id, q.nth FROM due d CROSS JOIN LATERAL (
        SELECT p.run_id, row_number() OVER (ORDER BY p.priority DESC, p.ready_seq) AS nth FROM strait.parked p
        WHERE p.lane = d.lane AND p.rate = d.name AND p.key = d.key
        ORDER BY p.priority DESC, p.ready_seq LIMIT d.tokens + 1) q
    WHERE q.nth <= d.tokens + 1
), picked AS MATERIALIZED (
    SELECT p.run_id FROM strait.parked p WHERE p.run_id = ANY(ARRAY(
        SELECT w.run_id FROM waiting w JOIN due d USING (lane, name, key) WHERE w.nth <= d.tokens))
    ORDER BY p.run_id FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM strait.parked p WHERE p.run_id = ANY(ARRAY(SELECT run_id FROM picked)) RETURNING p.*
), returned AS (
    INSERT INTO strait.ready (lane, priority, ready_seq, run_id, job_id, ready_at)
    SELECT lane, priority, ready_seq, run_id, job_id, ready_at FROM gone
), looked AS (
    UPDATE strait.rate_buckets b SET wake_at = CASE
        WHEN NOT EXISTS (SELECT FROM waiting w WHERE w.lane = d.lane AND w.name = d.name AND w.key = d.key
            AND w.run_id <> ALL(ARRAY(SELECT run_id FROM picked))) THEN NULL
        WHEN d.tokens < d.most THEN d.zero_at + strait.token_time(d.most, d.window_secs, d.tokens + 1)
        -- A full bucket gains nothing: whoever is to take the tokens is slow.
        ELSE %(now)s::timestamptz + greatest(strait.token_time(d.most, d.window_secs, 1), interval '1 second') END
    FROM due d WHERE b.lane = d.lane AND b.name = d.name AND b.key = d.key AND b.lane = ANY(%(lanes)b::bigint[])
)
SELECT lane, count(*) FROM gone GROUP BY lane

-- name: next_wake
SELECT min(wake_at) FROM strait.rate_buckets

-- name: refit
-- The job's limits have changed; the caller holds it and has let its parked runs return. Buckets of limits that are no
-- more are forgotten, the others are full when their new window says so. Where a run is still parked, because somebody
-- else held it, the bucket is looked after at once.
WITH limits AS MATERIALIZED (
    SELECT own_lane, e.name, e.window_secs FROM strait.jobs
    LEFT JOIN LATERAL jsonb_to_recordset(%(limits)b::jsonb) AS e(name text, window_secs integer) ON true WHERE id = %(job)s
), known AS MATERIALIZED (
    SELECT b.lane, b.name, b.key, l.window_secs, EXISTS (SELECT FROM strait.parked p
        WHERE p.lane = b.lane AND p.rate = b.name AND p.key = b.key) AS awaited
    FROM strait.rate_buckets b LEFT JOIN limits l ON l.name = b.name WHERE b.lane = (SELECT min(own_lane) FROM limits)
), gone AS (
    DELETE FROM strait.rate_buckets b USING known k
    WHERE k.window_secs IS NULL AND NOT k.awaited AND b.lane = k.lane AND b.name = k.name AND b.key = k.key
)
UPDATE strait.rate_buckets b SET wake_at = CASE WHEN k.awaited THEN %(now)s::timestamptz END,
    idle_at = date_trunc('minute', b.zero_at + make_interval(secs => coalesce(k.window_secs, 0)), 'UTC') + interval '1 minute'
FROM known k WHERE (k.window_secs IS NOT NULL OR k.awaited) AND b.lane = k.lane AND b.name = k.name AND b.key = k.key

-- name: forget_idle
-- Buckets that have long been full: a bucket without a row is full too.
DELETE FROM strait.rate_buckets b WHERE ctid = ANY(ARRAY(
    SELECT t.ctid FROM strait.rate_buckets t WHERE t.idle_at <= %(now)s AND t.wake_at IS NULL
    ORDER BY t.idle_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
