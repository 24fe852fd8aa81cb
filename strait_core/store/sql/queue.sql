-- The hot path: insert, claim, start, finish, retry, release, promote. Each statement takes a whole batch as one JSON
-- parameter and `now` from the program. Payloads, results and errors travel as JSON strings and are stored as text.
-- A statement whose name ends in `_if_held` compares (id, status, attempt, lease): a lost race changes nothing.
-- `= ANY(ARRAY(…))` beside a join hands the planner the keys: whatever it thinks of the tables' sizes, it looks the rows
-- up by index and never scans. What a batch did is answered with null when it did all, else with the ids it did.

-- name: insert_runs
WITH items AS MATERIALIZED (
    -- Places are given before the join, which may shuffle the batch: first in the batch is first in the queue.
    SELECT i.*, CASE WHEN i.status = 'queued' THEN nextval('strait.ready_seqs') END AS ready_seq
    FROM jsonb_to_recordset(%(batch)b::jsonb) AS i(
        id uuid, job_id uuid, project_id text, status text, max_attempts integer, priority smallint,
        timeout_secs integer, job_version integer, retry_strategy text, created_at timestamptz,
        scheduled_at timestamptz, expires_at timestamptz, batch_id uuid, triggered_by text, tags jsonb,
        metadata jsonb, payload text, idempotency_key text, body_hash text, concurrency_key text,
        parent_run_id uuid, continuation_of uuid, lineage_depth integer, fire_at timestamptz, warnings jsonb,
        workflow_run_id uuid, step_ref text, step_index smallint, retry_initial_secs integer, retry_max_secs integer)
), takers AS MATERIALIZED (
    SELECT j.id, j.version, j.lane FROM strait.jobs j
    WHERE j.id = ANY(ARRAY(SELECT DISTINCT job_id FROM items)) AND j.enabled AND (NOT j.paused OR %(held)s)
        AND j.deleted_at IS NULL
), keyed AS (
    -- In the order of the keys, so that two batches with the same ones do not wait for each other.
    INSERT INTO strait.idempotency_keys (project_id, route, key, body_hash, run_ids, look_at)
    SELECT i.project_id, 'trigger:' || i.job_id, i.idempotency_key, i.body_hash, ARRAY[i.id],
        %(now)s::timestamptz + interval '24 hours'
    FROM items i JOIN takers j ON j.id = i.job_id AND j.version = i.job_version
    WHERE i.body_hash IS NOT NULL ORDER BY 1, 2, 3
    ON CONFLICT DO NOTHING RETURNING run_ids[1] AS id
), batch AS MATERIALIZED (
    SELECT b.*, j.lane FROM items b JOIN takers j ON j.id = b.job_id AND j.version = b.job_version
    WHERE b.body_hash IS NULL OR b.id IN (SELECT id FROM keyed)
), stored AS (
    INSERT INTO strait.runs (id, job_id, project_id, status, seq, attempt, attempt_base, max_attempts, priority,
        timeout_secs, job_version, retry_strategy, ready_seq, ready_at, created_at, scheduled_at, expires_at, batch_id,
        triggered_by, tags, metadata, payload, idempotency_key, concurrency_key, parent_run_id, continuation_of,
        lineage_depth, fire_at, warnings, workflow_run_id, step_ref, step_index, retry_initial_secs, retry_max_secs)
    SELECT id, job_id, project_id, status, 1, 0, 0, max_attempts, priority, timeout_secs, job_version, retry_strategy,
        ready_seq, CASE WHEN status = 'queued' THEN %(now)s::timestamptz END, created_at, scheduled_at, expires_at,
        batch_id, triggered_by, tags, metadata, payload, idempotency_key, concurrency_key, parent_run_id,
        continuation_of, lineage_depth, fire_at, warnings, workflow_run_id, step_ref, step_index, retry_initial_secs,
        retry_max_secs
    FROM batch
), readied AS (
    INSERT INTO strait.ready (lane, priority, ready_seq, run_id, job_id, ready_at)
    SELECT lane, priority, ready_seq, id, job_id, %(now)s::timestamptz FROM batch WHERE status = 'queued'
), delayed AS (
    INSERT INTO strait.due (run_id, due_at, moves)
    SELECT id, scheduled_at, true FROM batch WHERE status = 'delayed'
), counted AS (
    INSERT INTO strait.stats_deltas (at, moves, ids, owners, seqs, attempts, statuses)
    SELECT %(now)s::timestamptz, m.moves, c.* FROM (
        SELECT jsonb_agg(jsonb_build_array(project_id, job_id, '', status, n)) AS moves
        FROM (SELECT project_id, job_id, status, count(*) AS n FROM batch GROUP BY 1, 2, 3) g
    ) m, (
        SELECT array_agg(id), array_agg(job_id), ARRAY[1], ARRAY[0], array_agg(status) FROM batch
    ) c
    WHERE m.moves IS NOT NULL
)
SELECT CASE WHEN count(*) < (SELECT count(*) FROM items) THEN coalesce(array_agg(id), '{}') END FROM batch

-- name: insert_alike
-- New runs of which only ids, payloads and steps differ, and which take no key: what they share is sent and read once.
-- No steps: null.
WITH said AS MATERIALIZED (
    SELECT s.* FROM jsonb_to_record(%(shared)b::jsonb) AS s(
        job_id uuid, project_id text, status text, max_attempts integer, priority smallint, timeout_secs integer,
        job_version integer, retry_strategy text, created_at timestamptz, scheduled_at timestamptz,
        expires_at timestamptz, batch_id uuid, triggered_by text, tags jsonb, metadata jsonb, concurrency_key text,
        parent_run_id uuid, continuation_of uuid, lineage_depth integer, fire_at timestamptz, warnings jsonb,
        workflow_run_id uuid, retry_initial_secs integer, retry_max_secs integer)
), shared AS MATERIALIZED (
    SELECT s.*, j.lane FROM said s JOIN strait.jobs j ON j.id = s.job_id AND j.version = s.job_version
    WHERE j.id = ANY(ARRAY(SELECT job_id FROM said)) AND j.enabled AND (NOT j.paused OR %(held)s)
        AND j.deleted_at IS NULL
), batch AS MATERIALIZED (
    SELECT i.*, CASE WHEN s.status = 'queued' THEN nextval('strait.ready_seqs') END AS ready_seq
    FROM shared s CROSS JOIN ROWS FROM (
        unnest(string_to_array(%(ids)b, ',')::uuid[]), jsonb_array_elements_text(%(payloads)b::jsonb),
        unnest(%(refs)b::text[]), unnest(%(indexes)b::smallint[])
    ) AS i(id, payload, step_ref, step_index)
), stored AS (
    INSERT INTO strait.runs (id, job_id, project_id, status, seq, attempt, attempt_base, max_attempts, priority,
        timeout_secs, job_version, retry_strategy, ready_seq, ready_at, created_at, scheduled_at, expires_at, batch_id,
        triggered_by, tags, metadata, payload, concurrency_key, parent_run_id, continuation_of, lineage_depth, fire_at,
        warnings, workflow_run_id, step_ref, step_index, retry_initial_secs, retry_max_secs)
    SELECT b.id, job_id, project_id, status, 1, 0, 0, max_attempts, priority, timeout_secs, job_version, retry_strategy,
        ready_seq, CASE WHEN status = 'queued' THEN %(now)s::timestamptz END, created_at, scheduled_at, expires_at,
        batch_id, triggered_by, tags, metadata, payload, concurrency_key, parent_run_id, continuation_of, lineage_depth,
        fire_at, warnings, workflow_run_id, step_ref, step_index, retry_initial_secs, retry_max_secs
    FROM batch b CROSS JOIN shared
), readied AS (
    INSERT INTO strait.ready (lane, priority, ready_seq, run_id, job_id, ready_at)
    SELECT lane, priority, ready_seq, b.id, job_id, %(now)s::timestamptz FROM batch b CROSS JOIN shared
    WHERE status = 'queued'
), delayed AS (
    INSERT INTO strait.due (run_id, due_at, moves)
    SELECT b.id, scheduled_at, true FROM batch b CROSS JOIN shared WHERE status = 'delayed'
), counted AS (
    INSERT INTO strait.stats_deltas (at, moves, ids, owners, seqs, attempts, statuses)
    SELECT %(now)s::timestamptz, jsonb_build_array(jsonb_build_array(project_id, job_id, '', status, c.n)), c.ids,
        array_fill(job_id, ARRAY[c.n]), ARRAY[1], ARRAY[0], array_fill(status, ARRAY[c.n])
    FROM shared CROSS JOIN (SELECT count(*)::integer AS n, array_agg(id) AS ids FROM batch) c
)
SELECT CASE WHEN count(*) = 0 THEN '{}'::uuid[] END FROM batch

-- name: claim
-- Walks lane 0 by priority and age from the low-water marks, takes at most `slots` entries, and sends entries of jobs
-- that have a lane of their own there. The first row always comes; its run columns are null when nothing was claimed.
-- `moved` counts what went to other lanes, `gated` tells whether any of those held entries before. A run whose time to live
-- is over is not claimed; `taken` counts its entry, which is gone: the reaper ends it.
-- With `starting` the session remembers what was claimed for `start_claimed`, which is on its way already.
WITH picked AS MATERIALIZED (
    SELECT e.* FROM unnest(%(priorities)b::smallint[], %(marks)b::bigint[]) AS m(priority, mark)
    CROSS JOIN LATERAL (
        SELECT r.ctid AS at, r.priority, r.ready_seq, r.run_id, r.job_id, r.ready_at FROM strait.ready r
        WHERE r.lane = 0 AND r.priority = m.priority AND r.ready_seq >= m.mark
        ORDER BY r.ready_seq LIMIT %(slots)s FOR UPDATE SKIP LOCKED
    ) e
    LIMIT %(slots)s
), sorted AS MATERIALIZED (
    SELECT p.*, j.lane, j.latest, j.version FROM picked p JOIN strait.jobs j ON j.id = p.job_id
    WHERE j.id = ANY(ARRAY(SELECT job_id FROM picked))
), moved AS (
    UPDATE strait.ready r SET lane = s.lane FROM sorted s
    WHERE r.ctid = ANY(ARRAY(SELECT at FROM sorted WHERE lane <> 0)) AND r.ctid = s.at RETURNING 1
), taken AS (
    DELETE FROM strait.ready r USING sorted s
    WHERE r.ctid = ANY(ARRAY(SELECT at FROM sorted WHERE lane = 0)) AND r.ctid = s.at
    RETURNING r.run_id, r.priority, r.ready_seq, r.ready_at, s.latest, s.version
), claimed AS (
    UPDATE strait.runs u SET status = 'dequeued', seq = u.seq + 1, lease = nextval('strait.leases'),
        worker_id = %(worker)s, claimed_at = %(now)s,
        job_version = CASE WHEN t.latest THEN t.version ELSE u.job_version END
    FROM taken t
    WHERE u.id = ANY(ARRAY(SELECT run_id FROM taken)) AND u.id = t.run_id AND u.status = 'queued'
        AND (u.expires_at IS NULL OR u.expires_at > %(now)s)
    RETURNING u.id, u.job_id, u.project_id, u.lease, u.attempt, u.attempt_base, u.max_attempts, t.priority,
        u.timeout_secs, u.job_version, u.retry_strategy, u.error,
        greatest(extract(epoch FROM %(now)s::timestamptz - t.ready_at) * 1000, 0)::float8, u.payload, t.ready_seq,
        0::bigint AS lane, u.error_fingerprint, u.error_streak, u.workflow_run_id, u.step_index, u.retry_initial_secs,
        u.retry_max_secs, NULL::uuid AS breaker, u.seq
), counted AS (
    INSERT INTO strait.stats_deltas (at, moves, ids, owners, seqs, attempts, statuses)
    SELECT %(now)s::timestamptz, m.moves, c.* FROM (
        SELECT jsonb_agg(jsonb_build_array(project_id, job_id, 'queued', 'dequeued', n)) AS moves
        FROM (SELECT project_id, job_id, count(*) AS n FROM claimed GROUP BY 1, 2) g
    ) m, (
        SELECT array_agg(id), array_agg(job_id), array_agg(seq), array_agg(attempt), ARRAY['dequeued'] FROM claimed
    ) c
    WHERE m.moves IS NOT NULL
)
SELECT m.*, c.* FROM (
    SELECT count(*) AS moved, EXISTS (SELECT FROM strait.ready WHERE lane > 0) AS gated,
        (SELECT count(*) FROM taken) AS taken, false AS skipped,
        CASE WHEN %(starting)s THEN (
            SELECT set_config('strait.claimed', coalesce(string_agg(id::text, ','), ''), false) IS NOT NULL
                AND set_config('strait.leases', concat_ws(',', min(lease), max(lease)), false) IS NOT NULL FROM claimed
        ) END AS remembered
    FROM moved
) m LEFT JOIN claimed c ON true
ORDER BY c.priority DESC, c.ready_seq

-- name: start_claimed
-- dequeued → executing for what the claim just before has claimed in this session, a transaction of its own. The worker
-- and the range of the claim's leases are the fence: no other claim by that worker has any of those. Answers how many
-- started, and which when these are not all that the session remembers.
WITH mine AS MATERIALIZED (
    SELECT string_to_array(current_setting('strait.claimed', true), ',')::uuid[] AS ids,
        string_to_array(current_setting('strait.leases', true), ',')::bigint[] AS leases
), started AS (
    UPDATE strait.runs r SET status = 'executing', seq = r.seq + 1, attempt = r.attempt + 1,
        -- A claim that took a slot just freed may have a later clock than this one.
        started_at = greatest(%(now)s::timestamptz, r.claimed_at)
    WHERE r.id = ANY(ARRAY(SELECT unnest(ids) FROM mine)) AND r.status = 'dequeued' AND r.worker_id = %(worker)s
        AND r.lease BETWEEN (SELECT leases[1] FROM mine) AND (SELECT leases[2] FROM mine)
    RETURNING r.id, r.project_id, r.job_id, r.seq, r.attempt
), counted AS (
    INSERT INTO strait.stats_deltas (at, moves, ids, owners, seqs, attempts, statuses)
    SELECT %(now)s::timestamptz, m.moves, c.* FROM (
        SELECT jsonb_agg(jsonb_build_array(project_id, job_id, 'dequeued', 'executing', n)) AS moves
        FROM (SELECT project_id, job_id, count(*) AS n FROM started GROUP BY 1, 2) g
    ) m, (
        SELECT array_agg(id), array_agg(job_id), array_agg(seq), array_agg(attempt), ARRAY['executing'] FROM started
    ) c
    WHERE m.moves IS NOT NULL
)
SELECT count(*), CASE WHEN count(*) IS DISTINCT FROM (SELECT cardinality(ids) FROM mine) THEN array_agg(id) END FROM started

-- name: open_lanes
-- The lanes other than 0 that hold entries, whether their job may run now and if not until when that is known, the one
-- with the best entry first. Hops through
-- the ready order from lane to lane: one look at the index for each lane, however many entries it holds.
WITH RECURSIVE hop AS (
    (SELECT e.lane, e.priority, e.ready_seq FROM strait.ready e WHERE e.lane > 0
        ORDER BY e.lane, e.priority DESC, e.ready_seq LIMIT 1)
    UNION ALL
    SELECT n.lane, n.priority, n.ready_seq FROM hop h CROSS JOIN LATERAL (
        SELECT e.lane, e.priority, e.ready_seq FROM strait.ready e WHERE e.lane > h.lane
        ORDER BY e.lane, e.priority DESC, e.ready_seq LIMIT 1) n
)
SELECT h.lane, g.is_open, g.until_at FROM hop h JOIN strait.job_gates(%(now)s) g ON g.own_lane = h.lane
WHERE g.own_lane = ANY(ARRAY(SELECT lane FROM hop)) ORDER BY h.priority DESC, h.ready_seq

-- name: claim_lanes
-- The claim when open lanes hold entries: the best entries over lane 0 and these lanes, by priority and age. A lane
-- gives at most its share twice over (and 8 at least), so that no more entries are locked than the claim can use, and
-- no more than its job allows. A job with limits gives only to a claim that holds it (`held`), in a snapshot taken since.
WITH gates AS MATERIALIZED (
    SELECT g.own_lane AS lane, g.breaker, g.allowance,
        NOT g.is_limited OR g.own_lane = ANY(%(held)b::bigint[]) AS ours,
        (SELECT s.freed_at FROM strait.lane_state s WHERE s.lane = g.own_lane) AS freed_at
    FROM strait.job_gates(%(now)s) g WHERE g.own_lane = ANY(%(lanes)b::bigint[])
), giving AS MATERIALIZED (
    SELECT lane, breaker, freed_at,
        least(greatest(8, 2 * %(slots)s / cardinality(%(lanes)b::bigint[])), allowance, %(slots)s,
            CASE WHEN lane = ANY(%(keyed)b::bigint[])
                THEN (SELECT count(*) FROM unnest(%(admitted_in)b::bigint[]) AS a(lane) WHERE a.lane = gates.lane) END) AS share
    FROM gates WHERE ours AND coalesce(allowance > 0, true)
), barriers AS MATERIALIZED (
    -- Breakers that let only some runs through, to one claim at a time.
    SELECT b.key, b.allowance FROM strait.breakers b
    WHERE b.key = ANY(ARRAY(SELECT DISTINCT breaker FROM giving WHERE breaker IS NOT NULL)) AND b.allowance > 0
    ORDER BY b.key FOR UPDATE SKIP LOCKED
), entries AS MATERIALIZED (
    SELECT * FROM (
        SELECT e.*, NULL::uuid AS breaker, NULL::integer AS allowance
        FROM unnest(%(priorities)b::smallint[], %(marks)b::bigint[]) AS m(priority, mark)
        CROSS JOIN LATERAL (
            SELECT r.ctid AS at, r.lane AS from_lane, r.priority, r.ready_seq, r.run_id, r.job_id, r.ready_at,
                NULL::timestamptz AS freed_at
            FROM strait.ready r
            WHERE r.lane = 0 AND r.priority = m.priority AND r.ready_seq >= m.mark
            ORDER BY r.ready_seq LIMIT %(slots)s FOR UPDATE SKIP LOCKED
        ) e
        UNION ALL
        SELECT e.*, g.breaker, b.allowance
        FROM giving g LEFT JOIN barriers b ON b.key = g.breaker CROSS JOIN LATERAL (
            SELECT r.ctid AS at, r.lane AS from_lane, r.priority, r.ready_seq, r.run_id, r.job_id, r.ready_at,
                g.freed_at
            FROM strait.ready r
            WHERE r.lane = g.lane AND (g.lane <> ALL(%(keyed)b::bigint[]) OR r.ready_seq = ANY(%(admitted)b::bigint[]))
            ORDER BY r.priority DESC, r.ready_seq
            LIMIT least(g.share, CASE WHEN g.breaker IS NOT NULL THEN coalesce(b.allowance, 0) END)
            FOR UPDATE SKIP LOCKED
        ) e
    ) every
    ORDER BY priority DESC, ready_seq LIMIT %(slots)s
), picked AS MATERIALIZED (
    -- All lanes of a breaker together get no more than it allows.
    SELECT * FROM (
        SELECT *, row_number() OVER (PARTITION BY breaker ORDER BY priority DESC, ready_seq) AS nth FROM entries
    ) numbered WHERE breaker IS NULL OR nth <= allowance
), sorted AS MATERIALIZED (
    SELECT p.*, j.lane, j.latest, j.version FROM picked p JOIN strait.jobs j ON j.id = p.job_id
    WHERE j.id = ANY(ARRAY(SELECT job_id FROM picked))
), moved AS (
    UPDATE strait.ready r SET lane = s.lane FROM sorted s
    WHERE r.ctid = ANY(ARRAY(SELECT at FROM sorted WHERE from_lane = 0 AND lane <> 0)) AND r.ctid = s.at RETURNING 1
), taken AS (
    DELETE FROM strait.ready r USING sorted s
    WHERE r.ctid = ANY(ARRAY(SELECT at FROM sorted WHERE from_lane <> 0 OR lane = 0)) AND r.ctid = s.at
    RETURNING r.lane, r.run_id, r.priority, r.ready_seq, r.ready_at, s.latest, s.version, s.freed_at, s.breaker
), claimed AS (
    UPDATE strait.runs u SET status = 'dequeued', seq = u.seq + 1, lease = nextval('strait.leases'),
        worker_id = %(worker)s, claimed_at = greatest(%(now)s::timestamptz, t.freed_at), slot_lane = nullif(t.lane, 0),
        job_version = CASE WHEN t.latest THEN t.version ELSE u.job_version END
    FROM taken t
    WHERE u.id = ANY(ARRAY(SELECT run_id FROM taken)) AND u.id = t.run_id AND u.status = 'queued'
        AND (u.expires_at IS NULL OR u.expires_at > %(now)s)
    RETURNING u.id, u.job_id, u.project_id, u.lease, u.attempt, u.attempt_base, u.max_attempts, t.priority,
        u.timeout_secs, u.job_version, u.retry_strategy, u.error,
        greatest(extract(epoch FROM %(now)s::timestamptz - t.ready_at) * 1000, 0)::float8, u.payload,
        t.ready_seq, t.lane, u.error_fingerprint, u.error_streak, u.workflow_run_id, u.step_index,
        u.retry_initial_secs, u.retry_max_secs, t.breaker, u.seq
), let_through AS (
    UPDATE strait.breakers b SET allowance = b.allowance - c.n, probe_run = c.ids[1], probe_lease = c.leases[1]
    FROM (SELECT breaker, count(*)::integer AS n, array_agg(id) AS ids, array_agg(lease) AS leases FROM claimed
        WHERE breaker IS NOT NULL GROUP BY 1) c
    WHERE b.key = ANY(ARRAY(SELECT DISTINCT breaker FROM claimed)) AND b.key = c.breaker
), spent AS (
    -- Each start takes a token, and a claim is the start of one.
    INSERT INTO strait.lane_rates (lane, zero_at)
    SELECT j.own_lane, greatest(coalesce(t.zero_at, %(now)s::timestamptz - make_interval(secs => j.rate_limit_window_secs)),
            %(now)s::timestamptz - make_interval(secs => j.rate_limit_window_secs))
        + strait.token_time(j.rate_limit_max, j.rate_limit_window_secs, c.n)
    FROM (SELECT lane, count(*) AS n FROM claimed WHERE lane <> 0 GROUP BY 1) c JOIN strait.jobs j ON j.own_lane = c.lane
    LEFT JOIN LATERAL (SELECT zero_at FROM strait.lane_rates r WHERE r.lane = c.lane LIMIT 1) t ON true
    WHERE j.own_lane = ANY(ARRAY(SELECT lane FROM claimed)) AND j.rate_limit_max IS NOT NULL
    ORDER BY 1
    ON CONFLICT (lane) DO UPDATE SET zero_at = excluded.zero_at
), counted AS (
    INSERT INTO strait.stats_deltas (at, moves, ids, owners, seqs, attempts, statuses)
    SELECT %(now)s::timestamptz, m.moves, c.* FROM (
        SELECT jsonb_agg(jsonb_build_array(project_id, job_id, 'queued', 'dequeued', n)) AS moves
        FROM (SELECT project_id, job_id, count(*) AS n FROM claimed GROUP BY 1, 2) g
    ) m, (
        SELECT array_agg(id), array_agg(job_id), array_agg(seq), array_agg(attempt), ARRAY['dequeued'] FROM claimed
    ) c
    WHERE m.moves IS NOT NULL
)
SELECT m.*, c.* FROM (
    SELECT count(*) AS moved, EXISTS (SELECT FROM strait.ready WHERE lane > 0) AS gated,
        (SELECT count(*) FROM taken) AS taken, EXISTS (SELECT FROM gates WHERE NOT ours) AS skipped,
        CASE WHEN %(starting)s THEN (
            SELECT set_config('strait.claimed', coalesce(string_agg(id::text, ','), ''), false) IS NOT NULL
                AND set_config('strait.leases', concat_ws(',', min(lease), max(lease)), false) IS NOT NULL FROM claimed
        ) END AS remembered
    FROM moved
) m LEFT JOIN claimed c ON true
ORDER BY c.priority DESC, c.ready_seq

-- name: move_gated
-- Sends the entries of jobs with a lane of their own there that stand among the next ones of lane 0, so that no claim
-- meets them again. Looks at no more than `limit` entries, however long the lane is: deeper ones are met later.
WITH near AS MATERIALIZED (
    SELECT r.ctid AS at, r.job_id FROM strait.ready r WHERE r.lane = 0
    ORDER BY r.priority DESC, r.ready_seq LIMIT %(limit)s
), gated AS MATERIALIZED (
    SELECT n.at, j.lane FROM near n JOIN strait.jobs j ON j.id = n.job_id
    WHERE j.id = ANY(ARRAY(SELECT job_id FROM near)) AND j.lane <> 0
), picked AS MATERIALIZED (
    SELECT r.ctid AS at FROM strait.ready r
    WHERE r.ctid = ANY(ARRAY(SELECT at FROM gated)) AND r.lane = 0 FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE strait.ready r SET lane = g.lane FROM gated g
    WHERE r.ctid = ANY(ARRAY(SELECT at FROM picked)) AND r.ctid = g.at RETURNING 1
)
SELECT count(*) FROM moved

-- name: start_if_held
WITH batch AS (
    SELECT * FROM jsonb_to_recordset(%(batch)b::jsonb) AS b(id uuid, attempt integer, lease bigint)
), started AS (
    UPDATE strait.runs r SET status = 'executing', seq = r.seq + 1, attempt = r.attempt + 1,
        -- A claim that took a slot just freed may have a later clock than this one.
        started_at = greatest(%(now)s::timestamptz, r.claimed_at)
    FROM batch b
    WHERE r.id = ANY(ARRAY(SELECT id FROM batch)) AND r.id = b.id
        AND r.status = 'dequeued' AND r.attempt = b.attempt AND r.lease = b.lease
    RETURNING r.id, r.project_id, r.job_id, r.seq, r.attempt
), counted AS (
    INSERT INTO strait.stats_deltas (at, moves, ids, owners, seqs, attempts, statuses)
    SELECT %(now)s::timestamptz, m.moves, c.* FROM (
        SELECT jsonb_agg(jsonb_build_array(project_id, job_id, 'dequeued', 'executing', n)) AS moves
        FROM (SELECT project_id, job_id, count(*) AS n FROM started GROUP BY 1, 2) g
    ) m, (
        SELECT array_agg(id), array_agg(job_id), array_agg(seq), array_agg(attempt), ARRAY['executing'] FROM started
    ) c
    WHERE m.moves IS NOT NULL
)
SELECT CASE WHEN count(*) < (SELECT count(*) FROM batch) THEN coalesce(array_agg(id), '{}') END FROM started

-- name: finish_if_held
-- Ends runs for good: the row moves to the history and the attempt is closed.
WITH batch AS (
    SELECT * FROM jsonb_to_recordset(%(batch)b::jsonb) AS b(
        id uuid, attempt integer, lease bigint, status text, keep text, finished_at timestamptz, result text,
        result_truncated boolean, error_class text, error text, http_status integer, fallback text,
        queue_wait_ms real, connect_ms real, ttfb_ms real, transfer_ms real, total_ms real, hook uuid,
        workflow_run_id uuid)
), ended AS (
    DELETE FROM strait.runs r USING batch b
    WHERE r.id = ANY(ARRAY(SELECT id FROM batch)) AND r.id = b.id
        AND r.status = 'executing' AND r.attempt = b.attempt AND r.lease = b.lease
        -- A run that waits or is awaited ends by the longer way (parking.sql).
        AND r.waits IS NULL AND r.awaited IS NULL
        -- The step of a workflow run ends only where that is known: in a transaction that holds the workflow run.
        AND r.workflow_run_id IS NOT DISTINCT FROM b.workflow_run_id
    RETURNING r.*, b.status AS to_status, b.keep, greatest(b.finished_at, r.started_at) AS finished_at, b.result,
        coalesce(b.result_truncated, false) AS result_truncated,
        b.error_class AS to_error_class, b.error AS to_error, b.http_status, b.fallback, b.queue_wait_ms,
        b.connect_ms, b.ttfb_ms, b.transfer_ms, b.total_ms, b.hook
), kept AS (
    INSERT INTO strait.run_history (id, job_id, project_id, status, seq, attempt, attempt_base, max_attempts,
        priority, timeout_secs, job_version, retry_strategy, started_at, finished_at, created_at, scheduled_at,
        expires_at, batch_id, triggered_by, error_class, error, tags, metadata, payload, result, result_truncated, keep,
        idempotency_key, concurrency_key, parent_run_id, continuation_of, lineage_depth, fire_at, cost_microusd, warnings,
        progress, outputs, state, usage, checkpoint, note_seq, workflow_run_id, step_ref)
    SELECT id, job_id, project_id, to_status, seq + 1, attempt, attempt_base, max_attempts, priority, timeout_secs,
        job_version, retry_strategy, started_at, finished_at, created_at, scheduled_at, expires_at, batch_id,
        triggered_by, to_error_class, to_error, tags, metadata, payload, result, result_truncated, keep,
        idempotency_key, concurrency_key, parent_run_id, continuation_of, lineage_depth, fire_at, cost_microusd, warnings,
        progress, outputs, state, usage, checkpoint, note_seq, workflow_run_id, step_ref
    FROM ended
), tried AS (
    INSERT INTO strait.attempts (run_id, number, seq, outcome, worker_id, lease, claimed_at, started_at, finished_at,
        http_status, error_class, error, fallback, queue_wait_ms, connect_ms, ttfb_ms, transfer_ms, total_ms, keep)
    SELECT id, attempt, seq + 1, to_status, worker_id, lease, claimed_at, started_at, finished_at, http_status,
        to_error_class, to_error, fallback, queue_wait_ms, connect_ms, ttfb_ms, transfer_ms, total_ms, keep
    FROM ended
), hooked AS (
    INSERT INTO strait.webhook_deliveries (id, project_id, job_id, run_id, type, status, attempts, created_at, due_at,
        run)
    SELECT hook, project_id, job_id, id, 'run.' || to_status, 'pending', 0, finished_at, finished_at,
        (to_jsonb(e) - '{checkpoint,state}'::text[] || jsonb_build_object('status', to_status, 'seq', seq + 1, 'error_class', to_error_class,
            'error', to_error))::text
    FROM ended e WHERE hook IS NOT NULL
), counted AS (
    INSERT INTO strait.stats_deltas (at, moves, ids, owners, seqs, attempts, statuses)
    SELECT %(now)s::timestamptz, m.moves, c.* FROM (
        SELECT jsonb_agg(jsonb_build_array(project_id, job_id, 'executing', to_status, n)) AS moves
        FROM (SELECT project_id, job_id, to_status, count(*) AS n FROM ended GROUP BY 1, 2, 3) g
    ) m, (
        SELECT array_agg(id), array_agg(job_id), array_agg(seq + 1), array_agg(attempt), array_agg(to_status) FROM ended
    ) c
    WHERE m.moves IS NOT NULL
)
SELECT CASE WHEN count(*) < (SELECT count(*) FROM batch) THEN coalesce(array_agg(id), '{}') END,
    array_agg((slot_lane, concurrency_key, finished_at)) FILTER (WHERE slot_lane IS NOT NULL)
FROM ended

-- name: retry_if_held
-- Closes attempts whose runs go back to the queue: after `due_at` when it is given, else at once.
WITH batch AS (
    SELECT * FROM jsonb_to_recordset(%(batch)b::jsonb) AS b(
        id uuid, attempt integer, lease bigint, outcome text, keep text, finished_at timestamptz, due_at timestamptz,
        priority smallint, base_add integer, error_class text, error text, error_fingerprint bigint,
        error_streak smallint, http_status integer, fallback text, queue_wait_ms real, connect_ms real, ttfb_ms real,
        transfer_ms real, total_ms real)
), held AS MATERIALIZED (
    SELECT b.*, coalesce(b.base_add, 0) AS added, r.worker_id, r.claimed_at, r.started_at, r.seq, r.slot_lane,
        greatest(b.finished_at, r.started_at) AS closed_at,
        CASE WHEN b.due_at IS NULL THEN nextval('strait.ready_seqs') END AS ready_seq
    FROM batch b JOIN strait.runs r ON r.id = b.id
    WHERE r.id = ANY(ARRAY(SELECT id FROM batch)) AND r.status = 'executing' AND r.attempt = b.attempt
        AND r.lease = b.lease AND r.waits IS NULL
    FOR UPDATE OF r
), requeued AS (
    UPDATE strait.runs r SET status = 'queued', seq = r.seq + 1, attempt_base = r.attempt_base + h.added,
        lease = NULL, worker_id = NULL, slot_lane = NULL, priority = h.priority, next_retry_at = h.due_at,
        ready_seq = h.ready_seq,
        ready_at = CASE WHEN h.due_at IS NULL THEN %(now)s::timestamptz END,
        -- A released attempt says nothing of the endpoint: the last real error stays.
        error_class = CASE WHEN h.added = 0 THEN h.error_class ELSE r.error_class END,
        error = CASE WHEN h.added = 0 THEN h.error ELSE r.error END,
        error_fingerprint = coalesce(h.error_fingerprint, r.error_fingerprint),
        error_streak = coalesce(h.error_streak, r.error_streak)
    FROM held h WHERE r.id = ANY(ARRAY(SELECT id FROM held)) AND r.id = h.id
    RETURNING r.id, r.job_id, r.project_id, r.attempt, r.seq, r.priority, h.outcome, h.keep,
        h.closed_at AS finished_at, h.due_at, h.lease, h.worker_id, h.claimed_at, h.started_at, h.http_status,
        h.error_class, h.error, h.fallback, h.queue_wait_ms, h.connect_ms, h.ttfb_ms, h.transfer_ms, h.total_ms,
        h.ready_seq, h.slot_lane AS freed_lane, r.concurrency_key
), waiting AS (
    INSERT INTO strait.due (run_id, due_at, moves) SELECT id, due_at, false FROM requeued WHERE due_at IS NOT NULL
), readied AS (
    INSERT INTO strait.ready (lane, priority, ready_seq, run_id, job_id, ready_at)
    SELECT j.lane, q.priority, q.ready_seq, q.id, q.job_id, %(now)s
    FROM requeued q JOIN strait.jobs j ON j.id = q.job_id
    WHERE j.id = ANY(ARRAY(SELECT job_id FROM requeued)) AND q.due_at IS NULL
), tried AS (
    INSERT INTO strait.attempts (run_id, number, seq, outcome, worker_id, lease, claimed_at, started_at, finished_at,
        http_status, error_class, error, fallback, queue_wait_ms, connect_ms, ttfb_ms, transfer_ms, total_ms, keep)
    SELECT id, attempt, seq, outcome, worker_id, lease, claimed_at, started_at, finished_at, http_status,
        error_class, error, fallback, queue_wait_ms, connect_ms, ttfb_ms, transfer_ms, total_ms, keep
    FROM requeued
), counted AS (
    INSERT INTO strait.stats_deltas (at, moves, ids, owners, seqs, attempts, statuses)
    SELECT %(now)s::timestamptz, m.moves, c.* FROM (
        SELECT jsonb_agg(jsonb_build_array(project_id, job_id, 'executing', counted_as, n)) AS moves
        FROM (SELECT project_id, job_id, CASE WHEN due_at IS NULL THEN 'queued' ELSE 'retrying' END AS counted_as,
            count(*) AS n FROM requeued GROUP BY 1, 2, 3) g
    ) m, (
        SELECT array_agg(id), array_agg(job_id), array_agg(seq), array_agg(attempt), ARRAY['queued'] FROM requeued
    ) c
    WHERE m.moves IS NOT NULL
)
SELECT CASE WHEN count(*) < (SELECT count(*) FROM batch) THEN coalesce(array_agg(id), '{}') END,
    array_agg((freed_lane, concurrency_key, finished_at)) FILTER (WHERE freed_lane IS NOT NULL)
FROM requeued

-- name: accept_if_held
-- Takes accepted callbacks off their workers; no move: the attempt goes on until its endpoint, or the clock, ends it.
WITH batch AS (
    SELECT * FROM jsonb_to_recordset(%(batch)b::jsonb) AS b(
        id uuid, attempt integer, lease bigint, http_status integer, fallback text, queue_wait_ms real, connect_ms real,
        ttfb_ms real, transfer_ms real)
), freed AS (
    UPDATE strait.runs r SET worker_id = NULL FROM batch b
    WHERE r.id = ANY(ARRAY(SELECT id FROM batch)) AND r.id = b.id
        AND r.status = 'executing' AND r.attempt = b.attempt AND r.lease = b.lease
    RETURNING r.id, r.attempt, r.lease, r.started_at + make_interval(secs => r.timeout_secs) AS deadline_at,
        b.http_status, b.fallback, b.queue_wait_ms, b.connect_ms, b.ttfb_ms, b.transfer_ms
), accepted AS (
    INSERT INTO strait.callbacks (run_id, attempt, lease, deadline_at, http_status, fallback, queue_wait_ms, connect_ms,
        ttfb_ms, transfer_ms)
    SELECT id, attempt, lease, deadline_at, http_status, fallback, queue_wait_ms, connect_ms, ttfb_ms, transfer_ms
    FROM freed
    ON CONFLICT (run_id) DO UPDATE SET attempt = excluded.attempt, lease = excluded.lease,
        deadline_at = excluded.deadline_at, http_status = excluded.http_status, fallback = excluded.fallback,
        queue_wait_ms = excluded.queue_wait_ms, connect_ms = excluded.connect_ms, ttfb_ms = excluded.ttfb_ms,
        transfer_ms = excluded.transfer_ms
)
SELECT CASE WHEN count(*) < (SELECT count(*) FROM batch) THEN coalesce(array_agg(id), '{}') END FROM freed

-- name: release_if_held
-- Gives back claims that never started: the attempt is not spent, the run takes a fresh place in the ready order.
WITH batch AS (
    SELECT * FROM jsonb_to_recordset(%(batch)b::jsonb) AS b(id uuid, attempt integer, lease bigint, reason text)
), held AS MATERIALIZED (
    SELECT r.id, r.slot_lane, b.reason FROM batch b JOIN strait.runs r ON r.id = b.id
    WHERE r.id = ANY(ARRAY(SELECT id FROM batch)) AND r.status = 'dequeued' AND r.attempt = b.attempt
        AND r.lease = b.lease
    FOR UPDATE OF r
), released AS (
    UPDATE strait.runs r SET status = 'queued', seq = r.seq + 1, lease = NULL, worker_id = NULL, slot_lane = NULL,
        ready_seq = nextval('strait.ready_seqs'), ready_at = %(now)s
    FROM held h WHERE r.id = ANY(ARRAY(SELECT id FROM held)) AND r.id = h.id
    RETURNING r.id, r.job_id, r.project_id, r.seq, r.attempt, r.priority, r.ready_seq, r.concurrency_key, h.reason,
        h.slot_lane AS freed_lane
), readied AS (
    INSERT INTO strait.ready (lane, priority, ready_seq, run_id, job_id, ready_at)
    SELECT j.lane, q.priority, q.ready_seq, q.id, q.job_id, %(now)s
    FROM released q JOIN strait.jobs j ON j.id = q.job_id WHERE j.id = ANY(ARRAY(SELECT job_id FROM released))
), noted AS (
    INSERT INTO strait.run_events (run_id, seq, event, status, attempt, at, reason, keep)
    SELECT id, seq, 'release', 'queued', attempt, %(now)s, reason, 'long' FROM released
), counted AS (
    INSERT INTO strait.stats_deltas (at, moves, ids, owners, seqs, attempts, statuses)
    SELECT %(now)s::timestamptz, m.moves, c.* FROM (
        SELECT jsonb_agg(jsonb_build_array(project_id, job_id, 'dequeued', 'queued', n)) AS moves
        FROM (SELECT project_id, job_id, count(*) AS n FROM released GROUP BY 1, 2) g
    ) m, (
        SELECT array_agg(id), array_agg(job_id), array_agg(seq), array_agg(attempt), ARRAY['queued'] FROM released
    ) c
    WHERE m.moves IS NOT NULL
)
SELECT CASE WHEN count(*) < (SELECT count(*) FROM batch) THEN coalesce(array_agg(id), '{}') END,
    array_agg((freed_lane, concurrency_key, %(now)s::timestamptz)) FILTER (WHERE freed_lane IS NOT NULL)
FROM released

-- name: promote_due
-- Puts runs whose time has come into the ready order: delayed ones become queued, retries are queued already. At most
-- `limit` of either kind, retries first, so that a flood of the one keeps none of the other waiting.
WITH picked AS MATERIALIZED (
    SELECT p.*, nextval('strait.ready_seqs') AS ready_seq FROM (
        SELECT * FROM (
            SELECT d.ctid AS at, d.run_id, d.due_at, d.moves FROM strait.due d
            WHERE NOT d.moves AND d.due_at <= %(now)s ORDER BY d.due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ) retries
        UNION ALL
        SELECT * FROM (
            SELECT d.ctid AS at, d.run_id, d.due_at, d.moves FROM strait.due d
            WHERE d.moves AND d.due_at <= %(now)s ORDER BY d.due_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        ) delayed
        ORDER BY moves, due_at
    ) p
), gone AS (
    DELETE FROM strait.due d WHERE d.ctid = ANY(ARRAY(SELECT at FROM picked))
), promoted AS (
    UPDATE strait.runs r SET status = 'queued', seq = r.seq + g.moves::integer, next_retry_at = NULL,
        ready_seq = g.ready_seq, ready_at = g.due_at
    FROM picked g WHERE r.id = ANY(ARRAY(SELECT run_id FROM picked)) AND r.id = g.run_id
        AND r.status = CASE WHEN g.moves THEN 'delayed' ELSE 'queued' END
    RETURNING r.id, r.job_id, r.project_id, r.seq, r.attempt, r.priority, r.ready_seq, r.ready_at, g.moves
), readied AS (
    INSERT INTO strait.ready (lane, priority, ready_seq, run_id, job_id, ready_at)
    SELECT j.lane, q.priority, q.ready_seq, q.id, q.job_id, q.ready_at
    FROM promoted q JOIN strait.jobs j ON j.id = q.job_id WHERE j.id = ANY(ARRAY(SELECT DISTINCT job_id FROM promoted))
), counted AS (
    INSERT INTO strait.stats_deltas (at, moves, ids, owners, seqs, attempts, statuses)
    SELECT %(now)s::timestamptz, m.moves, c.* FROM (
        SELECT jsonb_agg(jsonb_build_array(project_id, job_id, counted_as, 'queued', n)) AS moves
        FROM (SELECT project_id, job_id, CASE WHEN moves THEN 'delayed' ELSE 'retrying' END AS counted_as,
            count(*) AS n FROM promoted GROUP BY 1, 2, 3) g
    ) m, (
        SELECT array_agg(id), array_agg(job_id), array_agg(seq), array_agg(attempt), ARRAY['queued'] FROM promoted WHERE moves
    ) c
    WHERE m.moves IS NOT NULL
)
SELECT (SELECT greatest(count(*) FILTER (WHERE moves), count(*) FILTER (WHERE NOT moves)) FROM picked), r.id
FROM (SELECT 1) one LEFT JOIN promoted r ON true

-- name: next_due
SELECT least((SELECT min(due_at) FROM strait.due WHERE moves), (SELECT min(due_at) FROM strait.due WHERE NOT moves))
