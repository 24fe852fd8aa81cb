-- Descent: from a run to those that made it, and to those that it has made.

-- name: active_children
SELECT id FROM strait.runs WHERE parent_run_id = ANY(%(ids)s) ORDER BY id

-- name: ended_children
SELECT id FROM strait.run_history WHERE parent_run_id = ANY(%(ids)s) AND finished_at >= %(made_at)s ORDER BY id

-- name: descendants
-- One generation, of both kinds, wherever the runs stand.
SELECT id FROM (
    SELECT id FROM strait.runs WHERE parent_run_id = ANY(%(ids)s)
    UNION SELECT id FROM strait.runs WHERE continuation_of = ANY(%(ids)s)
    UNION SELECT id FROM strait.run_history WHERE parent_run_id = ANY(%(ids)s) AND finished_at >= %(made_at)s
    UNION SELECT id FROM strait.run_history WHERE continuation_of = ANY(%(ids)s) AND finished_at >= %(made_at)s
) d ORDER BY id LIMIT %(limit)s
