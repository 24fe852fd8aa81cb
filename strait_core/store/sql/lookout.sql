-- One look for the services that would each look by themselves otherwise.

-- name: look
-- Which of them have something to do before `until`. Each asks an index for its first entry, or a table that is empty
-- while nothing is the matter; null is no.
SELECT
    least((SELECT min(due_at) FROM strait.due WHERE moves), (SELECT min(due_at) FROM strait.due WHERE NOT moves))
        <= %(until)s AS stager,
    (SELECT min(due_at) FROM strait.schedules WHERE kind = 'job' AND due_at IS NOT NULL) <= %(until)s AS ticker,
    (SELECT min(due_at) FROM strait.schedules WHERE kind = 'workflow' AND due_at IS NOT NULL) <= %(until)s AS flow_ticker,
    (SELECT min(due_at) FROM strait.deadlines) <= %(until)s AS timekeeper,
    (SELECT min(window_due_at) FROM strait.jobs) <= %(until)s AS opener,
    (SELECT min(deadline_at) FROM strait.callbacks) <= %(until)s AS callbacks,
    (SELECT min(due_at) FROM strait.webhook_deliveries WHERE status = 'pending') <= %(until)s AS outbox,
    (SELECT min(wake_at) FROM strait.rate_buckets) <= %(until)s AS refiller,
    (SELECT min(id) FROM strait.stats_deltas) IS NOT NULL AS accountant,
    (SELECT min(due_at) FROM strait.waits WHERE outcome IS NULL) <= %(until)s
        OR (SELECT true FROM strait.waits WHERE ripe ORDER BY run_id LIMIT 1) AS waker,
    (SELECT min(due_at) FROM strait.workflow_steps WHERE due_at IS NOT NULL) <= %(until)s
        OR (SELECT min(expires_at) FROM strait.workflow_runs WHERE expires_at IS NOT NULL AND status <> 'compensating')
            <= %(until)s
        OR (SELECT true FROM strait.workflow_runs WHERE status = 'pending' ORDER BY workflow_id, id LIMIT 1) AS timers,
    (SELECT true FROM strait.parked WHERE rate IS NULL ORDER BY lane, key LIMIT 1) AS unparker,
    (SELECT true FROM strait.breakers WHERE state <> 'closed' OR failures > 0 LIMIT 1) AS breakers
