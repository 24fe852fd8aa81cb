-- What has ended, by retention class and week.

-- name: lock_retention
SELECT pg_try_advisory_xact_lock(7267218850512)
