-- What has ended, by retention class and week.

-- name: lock_retention
SELECT pg_try_advisory_xact_lock(7267218850512)

-- name: pages
SELECT pg_relation_size(%(name)s::regclass) / current_setting('block_size')::integer

-- name: take_off
-- Forgets runs that have left with their partition.
INSERT INTO strait.stats_deltas (at, moves) VALUES (%(at)s, %(moves)s)
