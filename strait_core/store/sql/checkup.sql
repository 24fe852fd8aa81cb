-- What PostgreSQL says of itself, for who looks whether all is well.

-- name: settings
SELECT name, setting FROM pg_catalog.pg_settings
WHERE name IN ('autovacuum', 'fsync', 'full_page_writes', 'max_connections', 'server_version', 'track_counts',
    'superuser_reserved_connections', 'default_transaction_read_only')

-- name: connections
SELECT count(*), count(*) FILTER (WHERE application_name = 'strait'),
    count(*) FILTER (WHERE state = 'idle in transaction')
FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'

-- name: open_breakers
-- Endpoints that are left alone now, with a job that calls each.
SELECT min(j.slug), min(j.project_id), b.open_until FROM strait.breakers b JOIN strait.jobs j ON j.breaker = b.key
WHERE b.state <> 'closed' AND j.deleted_at IS NULL GROUP BY b.key, b.open_until ORDER BY 1 LIMIT %(limit)s

-- name: endpoints
-- Jobs that may run and what they call, the newest first.
SELECT slug, project_id, definition::jsonb ->> 'endpoint_url' FROM strait.jobs
WHERE deleted_at IS NULL AND enabled ORDER BY id DESC LIMIT %(limit)s
