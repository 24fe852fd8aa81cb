-- The schedules of jobs and those of workflows are looked at apart: whoever waits for the one looks past none of the other.
CREATE INDEX schedules_due_by_kind ON strait.schedules (kind, due_at) WHERE due_at IS NOT NULL;
DROP INDEX strait.schedules_due;
