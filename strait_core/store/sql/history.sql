-- Partitions of what has ended, by retention class and week.

-- name: partitions
-- Leaf partitions below the given parent, by name.
SELECT c.relname FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace
WHERE n.nspname = 'strait' AND p.relname = %(parent)s ORDER BY c.relname

-- name: lock_partitions
SELECT pg_advisory_xact_lock(7267218850511)
