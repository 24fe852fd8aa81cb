-- Calendars: named sets of days, one name in each project.

-- name: insert_calendar
INSERT INTO strait.calendars (id, project_id, slug, definition, created_at, updated_at)
VALUES (%(id)s, %(project_id)s, %(slug)s, %(definition)s, %(now)s, %(now)s)
ON CONFLICT (slug, project_id) DO NOTHING RETURNING *

-- name: calendar_by_id
SELECT * FROM strait.calendars WHERE id = %(id)s AND (%(project)s::text IS NULL OR project_id = %(project)s)

-- name: calendars_by_slug
SELECT * FROM strait.calendars
WHERE slug = %(slug)s AND (%(project)s::text IS NULL OR project_id = %(project)s) ORDER BY project_id LIMIT 10

-- name: share_calendar
SELECT * FROM strait.calendars WHERE slug = %(slug)s AND project_id = %(project)s FOR SHARE

-- name: lock_calendar
SELECT * FROM strait.calendars WHERE id = %(id)s FOR UPDATE

-- name: update_calendar
UPDATE strait.calendars SET definition = %(definition)s, updated_at = %(now)s WHERE id = %(id)s RETURNING *

-- name: delete_calendar
DELETE FROM strait.calendars WHERE id = %(id)s

-- name: users_of_calendar
-- Jobs and workflows whose schedules go by this calendar, in the order in which they are locked.
SELECT kind, target_id FROM strait.schedules WHERE calendar_id = %(id)s ORDER BY kind, target_id

-- name: calendars
SELECT * FROM strait.calendars
WHERE (%(project)s::text IS NULL OR project_id = %(project)s) AND (%(before)s::uuid IS NULL OR id < %(before)s)
    AND (%(low)s::uuid IS NULL OR id BETWEEN %(low)s AND %(high)s)
ORDER BY id DESC LIMIT %(limit)s
