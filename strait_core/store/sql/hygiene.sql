-- Keeping the small hot tables small, and seeing what keeps PostgreSQL from it.

-- name: dead_rows
-- Hot tables with so many dead rows that a vacuum pays.
SELECT relname FROM pg_catalog.pg_stat_user_tables
WHERE schemaname = 'strait' AND relname = ANY(%(tables)s) AND n_dead_tup > %(least)s
ORDER BY relname

-- name: holders
-- Whatever holds back the removal of dead rows: open transactions, prepared ones, replication slots, the oldest first.
SELECT kind, name, age FROM (
    SELECT 'session' AS kind, coalesce(nullif(application_name, ''), usename, 'pid ' || pid) AS name,
        extract(epoch FROM %(now)s - xact_start)::float8 AS age
    FROM pg_catalog.pg_stat_activity
    WHERE backend_xmin IS NOT NULL AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
        AND backend_type = 'client backend' AND datname = current_database()
    UNION ALL
    SELECT 'prepared transaction', gid, extract(epoch FROM %(now)s - prepared)::float8
    FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()
) h
WHERE age > %(least_secs)s ORDER BY age DESC LIMIT 10
