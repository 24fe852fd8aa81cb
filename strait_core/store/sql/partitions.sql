-- Partitions of a table by time.

-- name: lock
SELECT pg_advisory_xact_lock(7267218850511)

-- name: of
-- Leaf partitions below the given parent, by name.
SELECT c.relname FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace
WHERE n.nspname = 'strait' AND p.relname = %(parent)s ORDER BY c.relname

-- name: half_detached
-- Partitions that somebody began to take out.
SELECT c.relname FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace
WHERE n.nspname = 'strait' AND p.relname = %(parent)s AND i.inhdetachpending

-- name: detached
-- What was a partition of the given parent and is none any more, by name.
SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'strait' AND c.relkind = 'r' AND NOT c.relispartition
    AND c.relname ~ ('^' || %(parent)s || '_[0-9]+$') ORDER BY c.relname
