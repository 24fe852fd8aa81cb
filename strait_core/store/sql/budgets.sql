-- What projects may spend, and what they have spent.

-- name: put_budget
INSERT INTO strait.budgets (project_id, daily_microusd, timezone, updated_at)
VALUES (%(project)s, %(daily)s, %(timezone)s, %(now)s)
ON CONFLICT (project_id) DO UPDATE SET daily_microusd = excluded.daily_microusd, timezone = excluded.timezone,
    updated_at = excluded.updated_at

-- name: drop_budget
DELETE FROM strait.budgets WHERE project_id = %(project)s

-- name: budget
SELECT daily_microusd, timezone FROM strait.budgets WHERE project_id = %(project)s

-- name: spent
SELECT coalesce(sum(microusd), 0)::bigint AS spent FROM strait.spending
WHERE project_id = %(project)s AND bucket >= %(since)s AND bucket < %(until)s

-- name: report
-- Adds up what a run has used, per model and in all, and books it on its project. Row locks make concurrent reports add
-- up. No row: the attempt is over, or the run has reported as many models as are kept apart.
WITH spent AS (
    UPDATE strait.runs r SET cost_microusd = coalesce(r.cost_microusd, 0) + %(cost)s,
        usage = coalesce(r.usage, '{}') || jsonb_build_object(%(key)s::text, jsonb_build_object(
            'provider', %(provider)s::text, 'model', %(model)s::text,
            'prompt_tokens', coalesce((r.usage -> %(key)s ->> 'prompt_tokens')::bigint, 0) + %(prompt)s::bigint,
            'completion_tokens',
                coalesce((r.usage -> %(key)s ->> 'completion_tokens')::bigint, 0) + %(completion)s::bigint,
            'cost_microusd', coalesce((r.usage -> %(key)s ->> 'cost_microusd')::bigint, 0) + %(cost)s::bigint,
            'reports', coalesce((r.usage -> %(key)s ->> 'reports')::bigint, 0) + 1))
    WHERE r.id = %(id)s AND r.status = 'executing' AND r.attempt = %(attempt)s AND (r.usage ? %(key)s
        OR (SELECT count(*) FROM jsonb_object_keys(coalesce(r.usage, '{}'))) < %(most)s)
    RETURNING r.project_id, r.cost_microusd
), booked AS (
    INSERT INTO strait.spending (project_id, bucket, microusd)
    SELECT project_id, %(bucket)s, %(cost)s FROM spent WHERE %(cost)s > 0
    ON CONFLICT (project_id, bucket) DO UPDATE SET microusd = strait.spending.microusd + excluded.microusd
)
SELECT cost_microusd FROM spent

-- name: forget_spending
DELETE FROM strait.spending WHERE bucket < %(before)s
