-- The invariants: each statement lists what breaks one of them, and lists nothing when it holds. They are read in one
-- snapshot, so that they hold while the system works too. `subject` is a run id, or a text that says what differs.

-- name: run_in_two_places
-- A run is active or has ended, never both, and it has ended once.
SELECT r.id AS subject FROM strait.runs r WHERE EXISTS (SELECT FROM strait.run_history h WHERE h.id = r.id)
UNION ALL
SELECT h.id FROM strait.run_history h GROUP BY h.id HAVING count(*) > 1

-- name: status_unknown
-- `runs` holds the states that are not terminal, `run_history` the others.
SELECT id AS subject FROM strait.runs WHERE status <> ALL(%(active)s)
UNION ALL
SELECT id FROM strait.run_history WHERE status <> ALL(%(terminal)s)

-- name: run_without_job
-- Every run names a job and a version of it that are stored.
SELECT r.id AS subject FROM strait.runs r
WHERE NOT EXISTS (SELECT FROM strait.job_versions v WHERE v.job_id = r.job_id AND v.version = r.job_version)

-- name: queued_run_misplaced
-- A queued run stands in the ready order, is due later, or is parked on a key: exactly one of the three, and once. One
-- whose time to live is over may have left the order: a claim has met it, and the reaper is about to end it.
SELECT r.id AS subject FROM strait.runs r
LEFT JOIN (SELECT run_id, count(*) AS n FROM strait.ready GROUP BY run_id) e ON e.run_id = r.id
LEFT JOIN strait.due d ON d.run_id = r.id LEFT JOIN strait.parked p ON p.run_id = r.id
WHERE r.status = 'queued'
    AND coalesce(e.n, 0) + (d.run_id IS NOT NULL)::integer + (p.run_id IS NOT NULL)::integer
        NOT IN (1, CASE WHEN r.expires_at <= %(now)s THEN 0 ELSE 1 END)

-- name: delayed_run_without_due_time
SELECT r.id AS subject FROM strait.runs r
WHERE r.status = 'delayed' AND NOT EXISTS (SELECT FROM strait.due d WHERE d.run_id = r.id AND d.moves)

-- name: ready_entry_wrong
-- Every entry of the ready order is a queued run, in a lane of its job, at the place that the run knows.
SELECT e.run_id AS subject FROM strait.ready e
LEFT JOIN strait.runs r ON r.id = e.run_id LEFT JOIN strait.jobs j ON j.id = e.job_id
WHERE r.status IS DISTINCT FROM 'queued' OR r.job_id <> e.job_id OR r.priority <> e.priority
    OR r.ready_seq IS DISTINCT FROM e.ready_seq OR r.ready_at IS DISTINCT FROM e.ready_at
    OR j.id IS NULL OR e.lane NOT IN (0, j.own_lane)

-- name: due_entry_wrong
-- Every due entry is a delayed run at its scheduled time, or a queued run at the time of its retry.
SELECT d.run_id AS subject FROM strait.due d LEFT JOIN strait.runs r ON r.id = d.run_id
WHERE r.status IS DISTINCT FROM CASE WHEN d.moves THEN 'delayed' ELSE 'queued' END
    OR d.due_at IS DISTINCT FROM CASE WHEN d.moves THEN r.scheduled_at ELSE r.next_retry_at END

-- name: live_run_without_owner
-- A claimed run names its worker, its lease and the time of the claim; an executing one the start of its attempt too.
-- An attempt whose endpoint has accepted it has no worker, but a deadline.
SELECT r.id AS subject FROM strait.runs r
WHERE status IN ('dequeued', 'executing') AND (lease IS NULL OR claimed_at IS NULL OR worker_id IS NULL AND NOT EXISTS (
        SELECT FROM strait.callbacks c WHERE c.run_id = r.id AND c.attempt = r.attempt AND c.lease = r.lease
            AND r.status = 'executing'))
    OR status = 'executing' AND (started_at IS NULL OR attempt < 1)

-- name: idle_run_with_owner
SELECT id AS subject FROM strait.runs
WHERE status IN ('delayed', 'queued', 'waiting') AND (lease IS NOT NULL OR worker_id IS NOT NULL)

-- name: lease_held_twice
SELECT r.id AS subject FROM strait.runs r
JOIN (SELECT lease FROM strait.runs WHERE lease IS NOT NULL GROUP BY lease HAVING count(*) > 1) l ON l.lease = r.lease

-- name: waiting_run_without_reason
-- A waiting run has an open wait, or one that was settled just now and that somebody is about to look at.
SELECT r.id AS subject FROM strait.runs r WHERE r.status = 'waiting'
    AND NOT EXISTS (SELECT FROM strait.waits w WHERE w.run_id = r.id AND (w.outcome IS NULL OR w.ripe))

-- name: wait_without_run
-- Waits belong to an active run that says so, open ones to one that executes or waits.
SELECT w.run_id AS subject FROM strait.waits w LEFT JOIN strait.runs r ON r.id = w.run_id
WHERE r.waits IS NOT TRUE OR w.outcome IS NULL AND r.status NOT IN ('executing', 'waiting')
UNION ALL
SELECT r.id FROM strait.runs r WHERE r.waits AND NOT EXISTS (SELECT FROM strait.waits w WHERE w.run_id = r.id)

-- name: wait_for_nothing
-- What an open wait waits for can still come: an active run that knows it is awaited, an event that is not sent yet.
SELECT w.run_id AS subject FROM strait.waits w LEFT JOIN strait.runs c ON c.id = w.child_id
LEFT JOIN strait.events e ON e.id = w.event_id
WHERE w.outcome IS NULL AND c.awaited IS NOT TRUE AND (e.status IS DISTINCT FROM 'waiting' OR e.retired)

-- name: wait_overdue
-- Nobody waits for an event much longer than he said.
SELECT w.run_id AS subject FROM strait.waits w JOIN strait.runs r ON r.id = w.run_id AND r.status = 'waiting'
WHERE w.outcome IS NULL AND w.due_at < %(dead_before)s

-- name: gate_closed_without_reason
SELECT 'job ' || job_id AS subject FROM strait.job_gates(%(now)s)
WHERE is_open <> (reason IS NULL) OR is_open <> coalesce(allowance > 0, true)

-- name: slot_missing
-- Every live attempt of a job with limits holds a slot, once those that began before the first limit have theirs.
SELECT r.id AS subject FROM strait.runs r JOIN strait.jobs j ON j.id = r.job_id
WHERE r.status IN ('dequeued', 'executing') AND r.slot_lane IS NULL AND j.is_limited AND j.unsettled_at IS NULL

-- name: slot_wrong
-- A slot belongs to a live attempt, and is one of its own job.
SELECT r.id AS subject FROM strait.runs r JOIN strait.jobs j ON j.id = r.job_id
WHERE r.slot_lane IS NOT NULL AND (r.slot_lane <> j.own_lane OR r.status NOT IN ('dequeued', 'executing'))

-- name: parked_run_wrong
-- A parked run is queued, at the place that it knows; with the key it is parked on, and the key is full or somebody is
-- on his way to it.
SELECT p.run_id AS subject FROM strait.parked p LEFT JOIN strait.runs r ON r.id = p.run_id
LEFT JOIN strait.jobs j ON j.id = p.job_id
WHERE r.status IS DISTINCT FROM 'queued' OR r.priority <> p.priority
    OR r.ready_seq IS DISTINCT FROM p.ready_seq OR r.ready_at IS DISTINCT FROM p.ready_at OR p.lane <> j.own_lane
    OR p.rate IS NULL AND (r.concurrency_key IS DISTINCT FROM p.key OR j.max_concurrency_per_key IS NULL
        OR j.max_concurrency_per_key > (
            SELECT count(*) FROM strait.runs s WHERE s.slot_lane = p.lane AND s.concurrency_key = p.key) + (
            SELECT count(*) FROM strait.ready e JOIN strait.runs q ON q.id = e.run_id
            WHERE e.lane = p.lane AND q.concurrency_key = p.key))

-- name: parked_for_ever
-- Somebody looks after every run that is parked for a token, and the job has such a limit.
SELECT p.run_id AS subject FROM strait.parked p LEFT JOIN strait.jobs j ON j.id = p.job_id
WHERE p.rate IS NOT NULL AND (NOT coalesce(j.rate_limit_keys @> jsonb_build_array(jsonb_build_object('name', p.rate)), false)
    OR NOT EXISTS (SELECT FROM strait.rate_buckets b
        WHERE b.lane = p.lane AND b.name = p.rate AND b.key = p.key AND b.wake_at IS NOT NULL))

-- name: bucket_overdrawn
-- No bucket of a named limit has given more than it had: it was empty in the past.
SELECT format('%%s of lane %%s', name, lane) AS subject FROM strait.rate_buckets WHERE zero_at > %(ahead)s

-- name: cap_exceeded
-- Whenever an attempt was claimed, the live ones of its job were no more than the highest cap in force just then.
WITH caps AS MATERIALIZED (
    SELECT job_id, (definition::jsonb ->> 'max_concurrency')::integer AS most, created_at AS from_at,
        lead(created_at) OVER (PARTITION BY job_id ORDER BY version) + interval '30 seconds' AS to_at
    FROM strait.job_versions
), capped AS MATERIALIZED (
    SELECT DISTINCT job_id FROM caps WHERE most IS NOT NULL
), steps AS (
    SELECT r.job_id, a.claimed_at AS at, 1 AS step FROM strait.attempts a JOIN strait.all_runs r ON r.id = a.run_id
    WHERE r.job_id IN (SELECT job_id FROM capped)
    UNION ALL SELECT r.job_id, a.finished_at, -1 FROM strait.attempts a JOIN strait.all_runs r ON r.id = a.run_id
    WHERE r.job_id IN (SELECT job_id FROM capped)
    UNION ALL SELECT job_id, claimed_at, 1 FROM strait.runs
    WHERE status IN ('dequeued', 'executing') AND job_id IN (SELECT job_id FROM capped)
), counted AS (
    SELECT job_id, at, step, sum(step) OVER (PARTITION BY job_id ORDER BY at, step ROWS UNBOUNDED PRECEDING) AS live
    FROM steps
)
SELECT format('job %%s: %%s live at %%s', c.job_id, c.live, c.at) AS subject FROM counted c
WHERE c.step > 0 AND c.live > (
    SELECT CASE WHEN bool_and(k.most IS NOT NULL) THEN max(k.most) END FROM caps k
    WHERE k.job_id = c.job_id AND k.from_at <= c.at AND coalesce(k.to_at > c.at, true))

-- name: key_cap_exceeded
-- The same for the live attempts of one key of a job.
WITH caps AS MATERIALIZED (
    SELECT job_id, (definition::jsonb ->> 'max_concurrency_per_key')::integer AS most, created_at AS from_at,
        lead(created_at) OVER (PARTITION BY job_id ORDER BY version) + interval '30 seconds' AS to_at
    FROM strait.job_versions
), keyed AS MATERIALIZED (
    SELECT r.id, r.job_id, r.concurrency_key AS key, r.claimed_at, r.is_live FROM (
        SELECT id, job_id, concurrency_key, claimed_at, status IN ('dequeued', 'executing') AS is_live FROM strait.runs
        UNION ALL SELECT id, job_id, concurrency_key, NULL, false FROM strait.run_history
    ) r WHERE r.concurrency_key IS NOT NULL AND r.job_id IN (SELECT job_id FROM caps WHERE most IS NOT NULL)
), steps AS (
    SELECT k.job_id, k.key, a.claimed_at AS at, 1 AS step FROM strait.attempts a JOIN keyed k ON k.id = a.run_id
    UNION ALL SELECT k.job_id, k.key, a.finished_at, -1 FROM strait.attempts a JOIN keyed k ON k.id = a.run_id
    UNION ALL SELECT job_id, key, claimed_at, 1 FROM keyed WHERE is_live
), counted AS (
    SELECT job_id, key, at, step,
        sum(step) OVER (PARTITION BY job_id, key ORDER BY at, step ROWS UNBOUNDED PRECEDING) AS live
    FROM steps
)
SELECT format('job %%s, key %%s: %%s live at %%s', c.job_id, c.key, c.live, c.at) AS subject FROM counted c
WHERE c.step > 0 AND c.live > (
    SELECT CASE WHEN bool_and(k.most IS NOT NULL) THEN max(k.most) END FROM caps k
    WHERE k.job_id = c.job_id AND k.from_at <= c.at AND coalesce(k.to_at > c.at, true))

-- name: rate_exceeded
-- Between any two claims of a job whose rate limit has always been the same lie no more claims than its bucket holds and
-- gains in that time (and in a tenth of a second: processes read the clock a little apart); no bucket is overdrawn.
WITH rates AS MATERIALIZED (
    SELECT job_id, max((definition::jsonb ->> 'rate_limit_max')::integer) AS most,
        max((definition::jsonb ->> 'rate_limit_window_secs')::integer) AS secs
    FROM strait.job_versions GROUP BY job_id
    HAVING count(DISTINCT (definition::jsonb ->> 'rate_limit_max', definition::jsonb ->> 'rate_limit_window_secs')) = 1
        AND bool_and((definition::jsonb ->> 'rate_limit_max')::integer IS NOT NULL)
), claims AS (
    SELECT r.job_id, a.claimed_at AS at FROM strait.attempts a JOIN strait.all_runs r ON r.id = a.run_id
    WHERE r.job_id IN (SELECT job_id FROM rates)
    UNION ALL SELECT job_id, claimed_at FROM strait.runs
    WHERE status IN ('dequeued', 'executing') AND job_id IN (SELECT job_id FROM rates)
), numbered AS (
    -- The nth claim, less what the bucket had gained until then.
    SELECT c.job_id, c.at, q.most, q.secs, row_number() OVER own - extract(epoch FROM c.at) * q.most / q.secs AS surplus
    FROM claims c JOIN rates q USING (job_id) WINDOW own AS (PARTITION BY c.job_id ORDER BY c.at)
), spans AS (
    SELECT job_id, at, most, secs,
        surplus - min(surplus) OVER (PARTITION BY job_id ORDER BY at ROWS UNBOUNDED PRECEDING) + 1 AS taken
    FROM numbered
)
SELECT format('job %%s: too many claims until %%s', job_id, at) AS subject FROM spans
WHERE taken > most + 0.1 * most / secs + 0.001
UNION ALL
SELECT format('job %%s: its bucket is empty until %%s', j.id, l.zero_at) FROM strait.lane_rates l
JOIN strait.jobs j ON j.own_lane = l.lane WHERE l.zero_at > %(ahead)s

-- name: callback_overdue
-- Nobody's accepted attempt lives on after its time.
SELECT r.id AS subject FROM strait.runs r JOIN strait.callbacks c ON c.run_id = r.id AND c.attempt = r.attempt
    AND c.lease = r.lease
WHERE r.status = 'executing' AND r.worker_id IS NULL AND c.deadline_at < %(dead_before)s

-- name: breaker_without_bound
-- A breaker that is not closed says how many runs may start, a closed one does not; an open one knows until when.
SELECT 'breaker ' || key AS subject FROM strait.breakers
WHERE (state = 'closed') <> (allowance IS NULL) OR state = 'open' AND (open_until IS NULL OR allowance <> 0)

-- name: lease_of_dead_worker
-- Nothing is held by a worker that was last heard of before `dead_before`; one that was never heard of counts from the
-- claim.
SELECT r.id AS subject FROM strait.runs r LEFT JOIN strait.workers w ON w.id = r.worker_id
WHERE r.status IN ('dequeued', 'executing') AND r.worker_id IS NOT NULL
    AND coalesce(w.heartbeat_at, r.claimed_at) < %(dead_before)s

-- name: key_of_run_missing
-- A run that was made under an idempotency key a day ago or less is what that key leads to.
SELECT r.id AS subject FROM strait.runs r
WHERE r.idempotency_key IS NOT NULL AND r.created_at > %(now)s::timestamptz - interval '24 hours'
    AND NOT EXISTS (SELECT FROM strait.idempotency_keys k WHERE k.project_id = r.project_id
        AND k.route = 'trigger:' || r.job_id AND k.key = r.idempotency_key AND r.id = ANY(k.run_ids))

-- name: key_without_run
-- While a key holds, the runs that it leads to are stored: what was accepted is there.
SELECT DISTINCT format('key %%s of %%s', k.key, k.route) AS subject
FROM strait.idempotency_keys k CROSS JOIN LATERAL unnest(k.run_ids) AS u(id)
WHERE k.look_at > %(now)s AND NOT EXISTS (SELECT FROM strait.all_runs r WHERE r.id = u.id AND r.project_id = k.project_id)

-- name: key_without_answer
-- A key leads to runs, or keeps the answer that was given.
SELECT format('key %%s of %%s', key, route) AS subject FROM strait.idempotency_keys
WHERE run_ids IS NULL AND (status IS NULL OR response IS NULL)

-- name: window_of_other_job
-- Triggers meet in runs of their own job.
SELECT r.id AS subject FROM strait.trigger_windows w JOIN strait.all_runs r ON r.id = w.run_id
WHERE r.job_id <> w.job_id

-- name: attempts_over_allowance
-- Since the last replay no run has had more than max_attempts counted attempts, and none is claimed for one too many.
SELECT id AS subject FROM strait.all_runs
WHERE attempt - attempt_base > max_attempts OR attempt_base > attempt OR attempt_base < 0
    OR status = 'dequeued' AND attempt - attempt_base >= max_attempts

-- name: attempt_twice
-- An attempt is closed once, and a live one is not closed at all.
SELECT run_id AS subject FROM strait.attempts GROUP BY run_id, number HAVING count(*) > 1
UNION ALL
SELECT r.id FROM strait.runs r JOIN strait.attempts a ON a.run_id = r.id AND a.number >= r.attempt
WHERE r.status = 'executing'

-- name: time_ahead
-- Nothing has happened in the future.
SELECT id AS subject FROM strait.runs
WHERE greatest(created_at, claimed_at, started_at) > %(ahead)s
UNION ALL
SELECT id FROM strait.run_history WHERE greatest(created_at, started_at, finished_at) > %(ahead)s

-- name: tick_decided_twice
-- A tick of a schedule makes one run, or one record of why it made none; no run belongs to two of them.
SELECT format('schedule %%s at %%s', schedule_id, fire_at) AS subject
FROM strait.schedule_fires GROUP BY schedule_id, fire_at HAVING count(*) > 1
UNION ALL
SELECT format('run %%s', run_id) FROM strait.schedule_fires WHERE run_id IS NOT NULL GROUP BY run_id HAVING count(*) > 1

-- name: tick_without_record
-- A run that a tick has made is the one that the tick's record names.
SELECT r.id AS subject FROM strait.runs r WHERE r.fire_at IS NOT NULL
    AND NOT EXISTS (SELECT FROM strait.schedule_fires f WHERE f.fire_at = r.fire_at AND f.run_id = r.id)
    AND NOT EXISTS (SELECT FROM strait.backfill_fires f WHERE f.fire_at = r.fire_at AND f.run_id = r.id)
UNION ALL
SELECT r.id FROM strait.workflow_runs r WHERE r.fire_at IS NOT NULL
    AND NOT EXISTS (SELECT FROM strait.schedule_fires f WHERE f.fire_at = r.fire_at AND f.run_id = r.id)
    AND NOT EXISTS (SELECT FROM strait.backfill_fires f WHERE f.fire_at = r.fire_at AND f.run_id = r.id)

-- name: backfill_over_bound
-- No backfill has more runs under way than it may have at once, nor counts otherwise than there are.
SELECT format('backfill %%s', b.id) AS subject FROM strait.backfills b CROSS JOIN LATERAL (
    SELECT count(run_id) AS made, count(run_id) FILTER (WHERE outcome IS NULL) AS active FROM strait.backfill_fires f
    WHERE f.schedule_id = b.schedule_id AND f.backfill_id = b.id
) f WHERE b.ended_at IS NULL
    AND (f.active > b.max_concurrency OR f.made <> b.made OR f.active <> b.made - b.completed - b.unsuccessful)

-- name: schedule_silent
-- A schedule fires exactly while neither it nor what it fires is off.
SELECT format('schedule %%s', s.id) AS subject FROM strait.schedules s JOIN strait.schedule_owners o ON o.id = s.target_id
WHERE (s.due_at IS NOT NULL) <> (o.deleted_at IS NULL AND o.enabled AND NOT o.paused AND NOT s.paused
    AND (s.next_fire_at IS NOT NULL OR s.held_fire_at IS NOT NULL))

-- name: depth_differs
-- The folded counts and the deltas that wait to be folded come to what there is.
SELECT format('project %%s, %%s: counts %%s, there are %%s', project_id, status, sum(folded), sum(real)) AS subject FROM (
    SELECT project_id, CASE WHEN status = 'queued' AND next_retry_at IS NOT NULL THEN 'retrying' ELSE status END AS status,
        0 AS folded, count(*) AS real FROM strait.runs GROUP BY 1, 2
    UNION ALL SELECT project_id, status, 0, count(*) FROM strait.run_history GROUP BY 1, 2
    UNION ALL SELECT project_id, status, runs, 0 FROM strait.stats_depth
    UNION ALL SELECT m ->> 0, m ->> 3, (m ->> 4)::bigint, 0 FROM strait.stats_deltas, jsonb_array_elements(moves) m
        WHERE m ->> 3 <> ''
    UNION ALL SELECT m ->> 0, m ->> 2, -(m ->> 4)::bigint, 0 FROM strait.stats_deltas, jsonb_array_elements(moves) m
        WHERE m ->> 2 <> ''
) counts GROUP BY project_id, status HAVING sum(folded) <> sum(real)

-- name: job_load_differs
-- The same for each job's queued and executing runs.
WITH shifts AS (
    SELECT (m ->> 1)::uuid AS job_id, m ->> 3 AS status, (m ->> 4)::bigint AS n
    FROM strait.stats_deltas, jsonb_array_elements(moves) m
    UNION ALL SELECT (m ->> 1)::uuid, m ->> 2, -(m ->> 4)::bigint
    FROM strait.stats_deltas, jsonb_array_elements(moves) m
), sides AS (
    SELECT job_id, queued, executing FROM strait.stats_jobs
    UNION ALL SELECT job_id, CASE WHEN status IN ('queued', 'retrying', 'delayed') THEN n ELSE 0 END,
        CASE WHEN status IN ('dequeued', 'executing') THEN n ELSE 0 END FROM shifts
    UNION ALL SELECT job_id, -count(*) FILTER (WHERE status IN ('queued', 'delayed')),
        -count(*) FILTER (WHERE status IN ('dequeued', 'executing')) FROM strait.runs GROUP BY job_id
)
SELECT format('job %%s: queued counts %%s too many, executing %%s', job_id, sum(queued), sum(executing)) AS subject
FROM sides GROUP BY job_id HAVING sum(queued) <> 0 OR sum(executing) <> 0

-- name: feed_differs
-- What the feed tells of a run, or a workflow run, leaves no change out, tells none twice, and ends where it stands. Of
-- those whose first changes are not kept any more it tells the rest.
WITH told AS (
    SELECT c.kind, e.id, c.seqs[least(e.entry, cardinality(c.seqs))] AS seq,
        c.statuses[least(e.entry, cardinality(c.statuses))] AS status
    FROM (
        SELECT coalesce(kind, 'run') AS kind, ids, seqs, statuses FROM strait.stats_deltas WHERE ids IS NOT NULL
        UNION ALL SELECT kind, ids, seqs, statuses FROM strait.changes
    ) c CROSS JOIN LATERAL unnest(c.ids) WITH ORDINALITY AS e(id, entry)
    WHERE c.kind IN ('run', 'workflow_run')
), ways AS (
    SELECT kind, id, min(seq) AS first, max(seq) AS last, count(*) AS n, (array_agg(status ORDER BY seq DESC))[1] AS status
    FROM told GROUP BY 1, 2
), objects AS (
    SELECT 'run' AS kind, id, seq, status FROM strait.all_runs
    UNION ALL SELECT 'workflow_run', id, seq, status FROM strait.all_workflow_runs
)
SELECT format('%%s %%s: the feed tells %%s of %%s to %%s (%%s), it stands at %%s (%%s)', w.kind, w.id, w.n, w.first, w.last,
    w.status, o.seq, o.status) AS subject
FROM ways w JOIN objects o USING (kind, id)
WHERE w.n <> w.last - w.first + 1 OR w.last <> o.seq OR w.status <> o.status

-- name: path_heads
-- Where runs stand, newest first, to replay their paths; only those whose every row is kept still.
SELECT id, seq, status, attempt, created_at, scheduled_at FROM strait.all_runs
WHERE id < %(before)s AND created_at >= %(whole_since)s ORDER BY id DESC LIMIT %(limit)s

-- name: path_attempts
SELECT run_id, number, seq, outcome, claimed_at, started_at, finished_at, error FROM strait.attempts
WHERE run_id = ANY(%(ids)s) ORDER BY run_id, number

-- name: path_moves
SELECT run_id, seq, event, status, attempt, at, reason FROM strait.run_events
WHERE run_id = ANY(%(ids)s) ORDER BY run_id, seq

-- name: workflow_run_in_two_places
SELECT r.id AS subject FROM strait.workflow_runs r
WHERE EXISTS (SELECT FROM strait.workflow_run_history h WHERE h.id = r.id)
UNION ALL
SELECT h.id FROM strait.workflow_run_history h GROUP BY h.id HAVING count(*) > 1

-- name: workflow_run_stalled
-- While a run is under way, something in it is: a step that runs, or one that waits.
SELECT r.id AS subject FROM strait.workflow_runs r
WHERE r.status IN ('running', 'compensating') AND NOT EXISTS (
    SELECT FROM strait.workflow_steps s WHERE s.workflow_run_id = r.id AND s.status IN ('running', 'waiting'))

-- name: workflow_step_without_run
-- A step that runs has its job run or its child under way, and what carries out a step is known by that step.
SELECT s.workflow_run_id AS subject FROM strait.workflow_steps s
LEFT JOIN strait.runs r ON r.id = s.job_run_id AND r.workflow_run_id = s.workflow_run_id AND r.step_index = s.step
LEFT JOIN strait.workflow_runs c ON c.id = s.child_run_id AND c.parent_run_id = s.workflow_run_id AND c.parent_step = s.step
WHERE s.status = 'running' AND r.id IS NULL AND c.id IS NULL
UNION ALL
SELECT r.id FROM strait.runs r WHERE r.workflow_run_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM strait.workflow_steps s WHERE s.job_run_id = r.id AND s.workflow_run_id = r.workflow_run_id
        AND s.step = r.step_index AND s.status = 'running')
UNION ALL
SELECT c.id FROM strait.workflow_runs c WHERE c.parent_run_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM strait.workflow_steps s WHERE s.child_run_id = c.id AND s.status = 'running')

-- name: workflow_step_alone
-- Every step belongs to a run that is there, and every run to a tree whose outermost run is under way.
SELECT s.workflow_run_id AS subject FROM strait.workflow_steps s
WHERE NOT EXISTS (SELECT FROM strait.workflow_runs r WHERE r.id = s.workflow_run_id)
UNION ALL
SELECT r.id FROM strait.workflow_runs r WHERE NOT EXISTS (SELECT FROM strait.workflow_runs o WHERE o.id = r.root_id)

-- name: approval_of_nobody
-- A question is open while its step waits, and no longer.
SELECT a.workflow_run_id AS subject FROM strait.approvals a WHERE a.status = 'pending' AND NOT EXISTS (
    SELECT FROM strait.workflow_steps s WHERE s.workflow_run_id = a.workflow_run_id AND s.step = a.step
        AND s.status = 'waiting')
